package sqlite

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
)

// openFiles are the database files that this process has open, once for each
// store.
var openFiles fileSet

type fileSet struct {
	mu    sync.Mutex
	files []os.FileInfo
}

// add adds a file. One that is new to the process is looked at first: later that
// is not possible, because to close a file releases all locks that the process has
// on it.
func (s *fileSet) add(path string, file os.FileInfo) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.files, func(f os.FileInfo) bool { return os.SameFile(f, file) }) {
		if err := refuseStrayLog(path); err != nil {
			return err
		}
	}
	s.files = append(s.files, file)
	return nil
}

func (s *fileSet) remove(file os.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.files, func(f os.FileInfo) bool { return os.SameFile(f, file) }); i >= 0 {
		s.files = slices.Delete(s.files, i, i+1)
	}
}

// refuseStrayLog refuses a file that does not use a write-ahead log and has one
// beside it: SQLite would apply the log of another file to it.
func refuseStrayLog(path string) error {
	log, err := os.Stat(path + "-wal")
	if err != nil || log.Size() == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	var header [20]byte
	switch _, err := io.ReadFull(f, header[:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the file is empty, but " + path + "-wal is not: it belongs to another file, move it away")
	case err != nil:
		return err
	case header[18] == 1: // the format of a file without a write-ahead log
		return errors.New(path + "-wal belongs to another file, which this one replaced: move it and the -shm away, or use sqlite.Restore")
	}
	return nil
}
