package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/entragate/entragate/appaccess"
)

// files are the database file, its log and the index of the log.
type files struct{ main, wal, shm os.FileInfo }

// look looks at the files that now have these names. The log and its index may be
// missing.
func look(path string) (f files, err error) {
	if f.main, err = os.Stat(path); err != nil {
		return f, gone(path, err)
	}
	f.wal, _ = os.Stat(path + "-wal")
	f.shm, _ = os.Stat(path + "-shm")
	return f, nil
}

// same reports what is missing, or is another file, of the files that are open. On a
// file system without shared memory SQLite uses no log.
func (f files) same(path string, now files) error {
	for _, piece := range []struct {
		suffix    string
		open, now os.FileInfo
	}{{"", f.main, now.main}, {"-wal", f.wal, now.wal}, {"-shm", f.shm, now.shm}} {
		switch {
		case piece.open == nil:
		case piece.now == nil:
			return gone(path+piece.suffix, os.ErrNotExist)
		case !os.SameFile(piece.open, piece.now):
			return fmt.Errorf("another file has replaced %s: put the former one back, or stop all processes that use the store and start them again: %w",
				path+piece.suffix, appaccess.ErrUnavailable)
		}
	}
	return nil
}

func gone(path string, err error) error {
	return fmt.Errorf("%s is gone: put it back, or stop all processes that use the store and start them again: %w: %w", path, appaccess.ErrUnavailable, err)
}

// refuseUnlessWhole refuses a file that came after the former one was missing, and
// that uses a write-ahead log: it may be a copy of the former one, whose newest commits
// are in the log. A backup uses none.
func refuseUnlessWhole(path string, file os.FileInfo) error {
	if openFiles.has(file) {
		return nil // it must not be looked into, see create
	}
	logged, err := usesLog(path)
	if err != nil {
		return fmt.Errorf("the file that replaced %s cannot be read: %w: %w", path, appaccess.ErrUnavailable, err)
	}
	if logged {
		return fmt.Errorf("another file has replaced %s, and may lack its newest commits: put the former one back, or stop all processes that use the store and use sqlite.Restore: %w",
			path, appaccess.ErrUnavailable)
	}
	return nil
}

// usesLog reports whether a database file uses a write-ahead log. No connection of
// this process may use the file.
func usesLog(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read
	var header [20]byte
	_, err = io.ReadFull(f, header[:])
	return header[18] != 1, err
}

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
	if s.index(file) < 0 {
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
	if i := s.index(file); i >= 0 {
		s.files = slices.Delete(s.files, i, i+1)
	}
}

func (s *fileSet) has(file os.FileInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index(file) >= 0
}

// index is called with mu held.
func (s *fileSet) index(file os.FileInfo) int {
	return slices.IndexFunc(s.files, func(f os.FileInfo) bool { return os.SameFile(f, file) })
}

// refuseStrayLog refuses a file that does not use a write-ahead log and has one
// beside it: SQLite would apply the log of another file to it.
func refuseStrayLog(path string) error {
	log, err := os.Stat(path + "-wal")
	if err != nil || log.Size() == 0 {
		return nil
	}
	switch logged, err := usesLog(path); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the file is empty, but " + path + "-wal is not: it belongs to another file, move it away")
	case err != nil:
		return err
	case !logged:
		return errors.New(path + "-wal belongs to another file, which this one replaced: move it and the -shm away, or use sqlite.Restore")
	}
	return nil
}
