package portal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assetFiles embed.FS

// asset is one embedded file under a name that changes with its content, so
// browsers may keep it for good.
type asset struct {
	name    string // style.1f2e3d4c5b6a.css
	typ     string
	content []byte
}

// assetTypes does not ask the machine's own table, which may miss them.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assetSet finds assets by the name in the source and by the name served.
type assetSet struct {
	bySource map[string]*asset
	byName   map[string]*asset
}

func loadAssets() (*assetSet, error) {
	set := &assetSet{bySource: map[string]*asset{}, byName: map[string]*asset{}}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("portal: assets: %w", err)
	}
	for _, entry := range entries {
		content, err := assetFiles.ReadFile("assets/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("portal: assets: %w", err)
		}
		sum := sha256.Sum256(content)
		ext := path.Ext(entry.Name())
		a := &asset{
			name:    strings.TrimSuffix(entry.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext,
			typ:     assetTypes[ext],
			content: content,
		}
		set.bySource[entry.Name()] = a
		set.byName[a.name] = a
	}
	return set, nil
}

// serve answers GET /assets/{name}. Needs no sign-in: nothing in it is private.
func (s *assetSet) serve(w http.ResponseWriter, r *http.Request) {
	a := s.byName[r.PathValue("name")]
	if a == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.typ)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.content))
}
