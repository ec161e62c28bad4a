package loader

import (
	"image"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// cifarRecord is a record whose red plane counts up, whose green plane is all
// the first pixel's label and whose blue plane counts down.
func cifarRecord(labels ...byte) []byte {
	r := append([]byte{}, labels...)
	for i := range cifarPixels {
		r = append(r, byte(i))
	}
	for range cifarPixels {
		r = append(r, labels[len(labels)-1])
	}
	for i := range cifarPixels {
		r = append(r, byte(255-i))
	}
	return r
}

func cifar10Folder(t *testing.T, prefix string) string {
	files := map[string][]byte{prefix + "test_batch.bin": cifarRecord(9)}
	for i, name := range cifarKinds[0].train {
		files[prefix+name] = append(cifarRecord(byte(i)), cifarRecord(byte(i+1))...)
	}
	return writeFiles(t, files)
}

func TestCIFAR10(t *testing.T) {
	for _, prefix := range []string{"", "cifar-10-batches-bin/"} {
		root := cifar10Folder(t, prefix)
		train, err := OpenSource(root, "train")
		require.NoError(t, err)
		require.Equal(t, 10, train.Len())
		require.Equal(t, "airplane", train.Classes()[0])
		require.Equal(t, 2, train.Label(3))
		require.Equal(t, filepath.Join(root, filepath.FromSlash(prefix), "data_batch_2.bin")+"#1", train.Name(3))

		img, err := train.Open(3)
		require.NoError(t, err)
		rgba := img.(*image.RGBA)
		require.Equal(t, []byte{33, 2, 222, 255}, rgba.Pix[rgba.PixOffset(1, 1):][:4], "pixel (1, 1)")

		val, err := OpenSource(root, "val")
		require.NoError(t, err)
		require.Equal(t, 1, val.Len())
		require.Equal(t, "truck", val.Classes()[val.Label(0)])
	}
}

func TestCIFAR100TakesTheFineLabel(t *testing.T) {
	names := ""
	for i := range 100 {
		names += "fine" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + "\r\n"
	}
	root := writeFiles(t, map[string][]byte{
		"cifar-100-binary/train.bin":            append(cifarRecord(3, 41), cifarRecord(19, 99)...),
		"cifar-100-binary/test.bin":             cifarRecord(1, 7),
		"cifar-100-binary/fine_label_names.txt": []byte(names),
	})
	train, err := OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, 2, train.Len())
	require.Equal(t, "fine41", train.Classes()[train.Label(0)])
	require.Equal(t, 99, train.Label(1))
	val, err := OpenSource(root, "val")
	require.NoError(t, err)
	require.Equal(t, 7, val.Label(0))
}

func TestCIFARErrors(t *testing.T) {
	root := cifar10Folder(t, "")
	writeOver := func(name string, data []byte) string {
		return writeFiles(t, map[string][]byte{name: data, "data_batch_1.bin": cifarRecord(1)})
	}
	_, err := OpenSource(writeOver("test_batch.bin", cifarRecord(1)[:100]), "val")
	require.ErrorContains(t, err, "100 bytes")
	require.ErrorContains(t, err, "3073")
	_, err = OpenSource(writeOver("test_batch.bin", nil), "val")
	require.ErrorContains(t, err, "test_batch.bin")
	_, err = OpenSource(writeOver("test_batch.bin", cifarRecord(10)), "val")
	require.ErrorContains(t, err, "record 0 has label 10")
	_, err = OpenSource(writeOver("test_batch.bin", cifarRecord(1)), "train")
	require.ErrorContains(t, err, "data_batch_2.bin", "a missing file is named")
	_, err = OpenSource(root, "train")
	require.NoError(t, err)
}

func FuzzCIFAR(f *testing.F) {
	f.Add(cifarRecord(3), false)
	f.Add(cifarRecord(3, 99), true)
	f.Add(cifarRecord(200), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, fine bool) {
		kind := &cifarKinds[0]
		if fine {
			kind = &cifarKinds[1]
		}
		if kind.check(data) != nil {
			return
		}
		c := &cifar{kind: kind, data: data, files: []string{"x"}, first: []int{0}}
		require.Positive(t, c.Len())
		for i := range c.Len() {
			require.Less(t, c.Label(i), kind.classes)
			_, err := c.Open(i)
			require.NoError(t, err)
		}
	})
}
