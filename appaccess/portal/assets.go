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
	".png": "image/png",
}

// assetSet finds assets by the name in the source and by the name served.
type assetSet struct {
	bySource map[string]*asset
	byName   map[string]*asset
}

func loadAssets(brand Brand) (*assetSet, error) {
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
		set.add(entry.Name(), path.Ext(entry.Name()), content)
	}
	if len(brand.Logo) > 0 {
		set.add("icon.svg", brand.logoType(), brand.Logo)
	}
	set.add("brand.css", ".css", []byte(brand.css()))
	return set, nil
}

// add adds a file, or replaces the one that templates know by this name.
func (s *assetSet) add(source, ext string, content []byte) {
	sum := sha256.Sum256(content)
	a := &asset{
		name:    strings.TrimSuffix(source, path.Ext(source)) + "." + hex.EncodeToString(sum[:6]) + ext,
		typ:     assetTypes[ext],
		content: content,
	}
	s.bySource[source], s.byName[a.name] = a, a
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
