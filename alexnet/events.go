package alexnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// EventLog writes an event file that TensorBoard reads: records as TFRecord
// frames them (length, masked CRC32C of it, data, masked CRC32C of that; all
// little-endian), each an Event message of tensorflow/core/util/event.proto.
type EventLog struct {
	file *os.File
	now  func() time.Time
}

// OpenEvents makes a new event file in a folder. TensorBoard reads all files of
// a folder in the order of their names; a run that goes on from a step tells it
// to forget what older files say of later ones.
func OpenEvents(folder string, step int64) (*EventLog, error) {
	now := time.Now()
	name := filepath.Join(folder, fmt.Sprintf("events.out.tfevents.%010d.%09d.vkalexnet", now.Unix(), now.Nanosecond()))
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("event file: %w", err)
	}
	l := &EventLog{file, time.Now}
	if err := l.begin(step); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

// begin writes the file's version and, where a run goes on, from where.
func (l *EventLog) begin(step int64) error {
	version := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "brain.Event:2")
	if err := l.event(0, version); err != nil || step == 0 {
		return err
	}
	const start = 1                                                                            // SessionLog.START
	status := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), start) // Event.session_log
	return l.event(step+1, protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), status))
}

// Scalar writes one number.
func (l *EventLog) Scalar(tag string, step int64, value float64) error {
	v := appendTag(nil, tag)
	v = protowire.AppendFixed32(protowire.AppendTag(v, 2, protowire.Fixed32Type), math.Float32bits(float32(value)))
	return l.summary(step, v)
}

// Image writes a picture.
func (l *EventLog) Image(tag string, step int64, picture image.Image) error {
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		return fmt.Errorf("event file: %w", err)
	}
	size := picture.Bounds().Size()
	var m []byte
	for field, v := range []int{size.Y, size.X, 4} { // height, width, colourspace: RGBA
		m = protowire.AppendVarint(protowire.AppendTag(m, protowire.Number(field+1), protowire.VarintType), uint64(v))
	}
	m = protowire.AppendBytes(protowire.AppendTag(m, 4, protowire.BytesType), file.Bytes())
	return l.summary(step, protowire.AppendBytes(protowire.AppendTag(appendTag(nil, tag), 4, protowire.BytesType), m))
}

func appendTag(b []byte, tag string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), tag)
}

// summary writes an Event with one Summary.Value.
func (l *EventLog) summary(step int64, value []byte) error {
	summary := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), value)
	return l.event(step, protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), summary))
}

// event writes an Event with what is already encoded.
func (l *EventLog) event(step int64, what []byte) error {
	seconds := float64(l.now().UnixNano()) / 1e9
	e := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(seconds))
	e = protowire.AppendVarint(protowire.AppendTag(e, 2, protowire.VarintType), uint64(step))
	return l.record(append(e, what...))
}

// record frames data. One write for all of it: a reader that follows the file
// finds whole records.
func (l *EventLog) record(data []byte) error {
	frame := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	frame = binary.LittleEndian.AppendUint32(frame, maskedCRC(frame))
	frame = append(frame, data...)
	frame = binary.LittleEndian.AppendUint32(frame, maskedCRC(data))
	if _, err := l.file.Write(frame); err != nil {
		return fmt.Errorf("event file: %w", err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is a CRC that is safe to store inside of what is checked again.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// Close ends the file.
func (l *EventLog) Close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("event file: %w", err)
	}
	return nil
}
