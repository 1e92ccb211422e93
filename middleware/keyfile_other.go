//go:build !unix

package middleware

import (
	"fmt"
	"io/fs"
)

// checkKeyFile refuses a file that is not regular. It does not check who may write
// the file.
func checkKeyFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("is %s, expected a regular file", info.Mode())
	}
	return nil
}
