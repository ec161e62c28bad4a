package loader

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// Listing a large archive reads a block at each of its members, so the list is
// kept in the user's cache, by the archive's path, and holds as long as its size
// and time of change are the same.
const (
	indexMagic = "vkalexnet tar index 1\n"
	// indexLeast is how many members are worth a file.
	indexLeast = 1000
)

// cachedIndex lists an archive's members, from the cache where they are there.
// The cache's own troubles only cost time.
func cachedIndex(f *os.File) ([]member, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	cache := indexPath(f.Name())
	key := fmt.Sprintf("%s%d %d\n", indexMagic, info.Size(), info.ModTime().UnixNano())
	if cache != "" {
		if data, err := os.ReadFile(cache); err == nil {
			if members, err := decodeIndex(data, key, info.Size()); err == nil {
				return members, nil
			}
		}
	}
	members, err := indexTar(f, info.Size())
	if err == nil && cache != "" && len(members) >= indexLeast {
		_ = writeCache(cache, encodeIndex(members, key))
	}
	return members, err
}

func indexPath(name string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	if name, err = filepath.Abs(name); err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(dir, "vkalexnet", "tar-index", hex.EncodeToString(sum[:16]))
}

// writeCache writes beside and renames, so that nobody reads a half.
func writeCache(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// encodeIndex writes the key and, for each member, what it does not share with
// the path before, offset, size, text and damage; then a CRC-32C.
func encodeIndex(members []member, key string) []byte {
	b := binary.AppendUvarint([]byte(key), uint64(len(members)))
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	before := ""
	for _, m := range members {
		same := 0
		for same < min(len(before), len(m.path)) && before[same] == m.path[same] {
			same++
		}
		b = binary.AppendUvarint(b, uint64(same))
		text(m.path[same:])
		b = binary.AppendUvarint(b, uint64(m.offset))
		b = binary.AppendUvarint(b, uint64(m.size))
		text(m.text)
		text(m.damage)
		before = m.path
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var errIndex = errors.New("not the index of this archive")

// decodeIndex reads what encodeIndex wrote with the same key for a file of the
// given size.
func decodeIndex(b []byte, key string, size int64) ([]member, error) {
	if len(b) < len(key)+4 || string(b[:len(key)]) != key {
		return nil, errIndex
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errIndex
	}
	b = body[len(key):]
	bad := false
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			bad = true
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	n := number()
	if n > uint64(len(b))/6 { // a member takes six bytes at least
		return nil, errIndex
	}
	members := make([]member, n)
	before := ""
	for i := range members {
		same := number()
		if same > uint64(len(before)) {
			return nil, errIndex
		}
		m := &members[i]
		m.path = before[:same] + text()
		offset, length := number(), number()
		m.text, m.damage = text(), text()
		if bad || offset > uint64(size) || length > uint64(size)-offset {
			return nil, errIndex
		}
		m.offset, m.size = int64(offset), int64(length)
		before = m.path
	}
	if len(b) != 0 {
		return nil, errIndex
	}
	return members, nil
}
