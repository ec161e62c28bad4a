package engine

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestCacheOfAnotherKeyOrDamagedIsIgnored(t *testing.T) {
	data := []byte("what the driver compiled")
	content := sealCache("driver device kernels", data)
	require.Equal(t, data, unsealCache("driver device kernels", content))
	require.Nil(t, unsealCache("driver device kernel", content))
	for i := range content {
		damaged := append([]byte{}, content...)
		damaged[i] ^= 1
		require.Nil(t, unsealCache("driver device kernels", damaged), "byte %d changed", i)
		require.Nil(t, unsealCache("driver device kernels", content[:i]), "cut to %d bytes", i)
	}
	require.Nil(t, unsealCache("driver device kernels", append(content, 0)))
}

func TestPipelineCacheKey(t *testing.T) {
	key := func(driver, uuid string, modules fstest.MapFS) string {
		d := &Device{Info: Info{DriverKey: driver, UUID: uuid}, shaders: modules}
		k, err := d.pipelineCacheKey()
		require.NoError(t, err)
		return k
	}
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	modules := fstest.MapFS{"a.spv": file("1"), "b.spv": file("2")}
	first := key("driver", "device", modules)
	require.Equal(t, first, key("driver", "device", fstest.MapFS{"b.spv": file("2"), "a.spv": file("1")}))
	for what, other := range map[string]string{
		"driver": key("driver2", "device", modules),
		"device": key("driver", "device2", modules),
		"kernel": key("driver", "device", fstest.MapFS{"a.spv": file("1"), "b.spv": file("3")}),
		"name":   key("driver", "device", fstest.MapFS{"a.spv": file("1"), "c.spv": file("2")}),
		"fewer":  key("driver", "device", fstest.MapFS{"a.spv": file("1")}),
	} {
		require.NotEqual(t, first, other, what)
	}
}
