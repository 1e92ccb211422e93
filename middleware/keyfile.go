package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/entragate/entragate/appaccess"
)

// maxKeyFile is the largest key file, in bytes. Entra's key set takes about 3 KiB.
const maxKeyFile = 4 << 20

// keyFile is a KeyMemory in a file that holds the keys of all endpoints.
type keyFile struct {
	path string
	now  func() time.Time
	busy chan struct{} // a lock with context: full while the file is read or written
}

func newKeyFile(path string, now func() time.Time) *keyFile {
	return &keyFile{path: path, now: now, busy: make(chan struct{}, 1)}
}

// keySets is what the file holds.
type keySets struct {
	Sets []appaccess.SigningKeys `json:"sets"`
}

// index returns the index of the keys of an endpoint; -1 if there are none.
func (s *keySets) index(url string) int {
	return slices.IndexFunc(s.Sets, func(k appaccess.SigningKeys) bool { return k.URL == url })
}

// SigningKeys implements [KeyMemory].
func (f *keyFile) SigningKeys(ctx context.Context, url string) (appaccess.SigningKeys, error) {
	var keys appaccess.SigningKeys
	err := f.do(ctx, func() error {
		sets, err := f.read()
		if err != nil {
			return err
		}
		i := sets.index(url)
		if i < 0 {
			return appaccess.ErrNotFound
		}
		keys = sets.Sets[i]
		return nil
	})
	if err != nil {
		return appaccess.SigningKeys{}, err
	}
	return keys, nil
}

// RememberSigningKeys implements [KeyMemory]. It replaces a file that cannot be
// read.
func (f *keyFile) RememberSigningKeys(ctx context.Context, keys appaccess.SigningKeys) error {
	return f.do(ctx, func() error {
		sets, err := f.read()
		if err != nil {
			sets = keySets{}
		}
		if i := sets.index(keys.URL); i >= 0 {
			known := sets.Sets[i].Fetched
			if known.After(keys.Fetched) && known.Before(f.now().Add(maxClockSkew)) { // no gate uses keys of the future
				return nil
			}
		}
		sets.Sets = slices.DeleteFunc(sets.Sets, func(k appaccess.SigningKeys) bool {
			return k.URL == keys.URL || keys.Fetched.Sub(k.Fetched) >= maxKeyAge
		})
		sets.Sets = append(sets.Sets, keys)
		return f.write(sets)
	})
}

// do runs fn while no other call runs. If the file system hangs, one goroutine
// hangs, and callers wait until their context ends.
func (f *keyFile) do(ctx context.Context, fn func() error) error {
	select {
	case f.busy <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("KeyFile: %s: %w", f.path, ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-f.busy }()
		done <- fn()
	}()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, appaccess.ErrNotFound) {
			err = fmt.Errorf("KeyFile: %s: %w", f.path, err)
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("KeyFile: %s: %w", f.path, ctx.Err())
	}
}

// read reads the file. A missing file is an empty one.
func (f *keyFile) read() (keySets, error) {
	var sets keySets
	named, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return sets, nil
	}
	if err != nil {
		return sets, bare(err)
	}
	if err := checkKeyFile(named); err != nil {
		return sets, err
	}
	file, err := os.Open(f.path)
	if err != nil {
		return sets, bare(err)
	}
	defer func() { _ = file.Close() }()
	if opened, err := file.Stat(); err != nil || !os.SameFile(named, opened) {
		return sets, errors.New("was replaced while it was read")
	}
	body, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	switch {
	case err != nil:
		return sets, bare(err)
	case len(body) > maxKeyFile:
		return sets, fmt.Errorf("more than %d bytes", maxKeyFile)
	}
	if err := json.Unmarshal(body, &sets, json.RejectUnknownMembers(true)); err != nil {
		return keySets{}, errors.New("is not what a gate wrote")
	}
	return sets, nil
}

// write replaces the file by a rename, so that a reader sees the complete old or
// the complete new file.
func (f *keyFile) write(sets keySets) error {
	body, err := json.Marshal(sets)
	if err != nil {
		return err
	}
	if len(body) > maxKeyFile {
		return fmt.Errorf("would have %d bytes: at most %d are allowed", len(body), maxKeyFile)
	}
	temporary, err := os.CreateTemp(filepath.Dir(f.path), "."+filepath.Base(f.path)+"-*") // mode 0600
	if err != nil {
		return bare(err)
	}
	_, err = io.Copy(temporary, bytes.NewReader(body))
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return bare(err)
	}
	return nil
}

// bare removes the path from an error of package os: do adds it.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}
