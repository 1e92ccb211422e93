package apim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const maxFile = 32 << 20 // bytes

// ReadFS reads an instance from files:
//
//   - saved answers of the REST interface, under any name that ends in .json:
//     single objects and lists, of one or of several versions;
//   - Azure Resource Manager templates with their parameters files, as the portal
//     and the resource kit export them;
//   - the folders that the APIOps extractor writes.
//
// Keys are never kept. JSON files of other forms, such as OpenAPI documents, are
// listed in [Instance.Ignored], so that
// nothing is left out silently. Files of other endings are not looked at.
//
// Files show less than the instance itself: see [Instance.Missing].
func ReadFS(fsys fs.FS) (*Instance, error) {
	r := &fileReading{fsys: fsys, found: newEntities()}
	if err := fs.WalkDir(fsys, ".", r.visit); err != nil {
		return nil, fmt.Errorf("apim: %w", err)
	}
	for _, t := range r.templates {
		if err := r.found.addTemplate(t.raw, r.parameters); err != nil {
			return nil, fmt.Errorf("apim: %s: %w", t.name, err)
		}
	}
	if len(r.found.order) == 0 {
		return nil, errors.New("apim: no saved answer and no APIOps folder found: expected .json files with objects of API Management")
	}
	in, err := r.found.instance()
	if err != nil {
		return nil, fmt.Errorf("apim: %w", err)
	}
	in.Missing, in.Ignored = r.missing(in), r.ignored
	return in, nil
}

type fileReading struct {
	fsys    fs.FS
	found   *entities
	apiops  bool
	ignored []string

	templates  []templateFile
	parameters map[string]json.RawMessage // of all parameters files
}

type templateFile struct {
	name string
	raw  []byte
}

func (r *fileReading) visit(name string, d fs.DirEntry, err error) error {
	if err != nil || d.IsDir() {
		return err
	}
	if target, ok := apiopsPath(name); ok {
		r.apiops = true
		return r.addAPIOps(name, target)
	}
	if path.Ext(name) != ".json" {
		return nil
	}
	raw, err := r.read(name)
	if err != nil {
		return err
	}
	switch schemaOf(raw) {
	case "deploymentTemplate":
		r.templates = append(r.templates, templateFile{name, raw})
		return nil
	case "deploymentParameters":
		return r.addParameters(name, raw)
	}
	if !isARM(raw) {
		r.ignored = append(r.ignored, name)
		return nil
	}
	if _, err := r.found.addJSON(raw); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (r *fileReading) addParameters(name string, raw []byte) error {
	var t template
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if r.parameters == nil {
		r.parameters = map[string]json.RawMessage{}
	}
	for parameter, p := range t.Parameters {
		if p.Value != nil { // a reference to a vault has none
			r.parameters[parameter] = p.Value
		}
	}
	return nil
}

// isARM distinguishes an object or list of Azure Resource Manager from other JSON, such
// as an OpenAPI document or an answer that holds keys.
func isARM(raw []byte) bool {
	var v struct {
		ID    string            `json:"id"`
		Type  string            `json:"type"`
		Value []json.RawMessage `json:"value"`
	}
	if json.Unmarshal(raw, &v) != nil {
		return false
	}
	const provider = "microsoft.apimanagement/"
	return strings.HasPrefix(strings.ToLower(v.Type), provider) || len(v.Value) > 0
}

func (r *fileReading) read(name string) ([]byte, error) {
	f, err := r.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("%s: has more than %d bytes", name, maxFile)
	}
	return raw, nil
}

// apiopsFolders are the extractor's folders and the kinds that they hold.
var apiopsFolders = map[string]string{
	"apis": "apis", "products": "products", "groups": "groups", "groupLinks": "groupLinks",
	"subscriptions": "subscriptions", "version sets": "apiVersionSets", "named values": "namedValues",
	"policy fragments": "policyFragments", "operations": "operations", "gateways": "gateways",
	"backends": "backends", "loggers": "loggers", "workspaces": "workspaces",
}

// apiopsPath turns the extractor's file name into the path of the object that
// the file describes.
func apiopsPath(name string) (target []string, ok bool) {
	parts := strings.Split(name, "/")
	file := parts[len(parts)-1]
	if !strings.HasSuffix(file, "Information.json") && file != "policy.xml" {
		return nil, false
	}
	// The tree may lie below other folders: its root is the first folder known.
	first := 0
	for first < len(parts)-1 && apiopsFolders[parts[first]] == "" {
		first++
	}
	folders := parts[first : len(parts)-1]
	if len(folders)%2 != 0 {
		return nil, false
	}
	for i := 0; i < len(folders); i += 2 {
		kind := apiopsFolders[folders[i]]
		if kind == "" {
			return nil, false
		}
		if i > 0 && (kind == "apis" || kind == "groups") {
			kind = strings.TrimSuffix(kind, "s") + "Links" // the folder is the link
		}
		target = append(target, kind, folders[i+1])
	}
	if file == "policy.xml" && (len(target) == 0 || target[len(target)-2] != "policyFragments") {
		target = append(target, "policies", "policy")
	}
	return target, len(target) > 0
}

func (r *fileReading) addAPIOps(name string, target []string) error {
	raw, err := r.read(name)
	if err != nil {
		return err
	}
	var object envelope
	if path.Base(name) == "policy.xml" {
		text, err := json.Marshal(string(raw))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		object.Properties = map[string]json.RawMessage{"value": text}
	} else if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.found.add(target, object.Properties)
	return nil
}

// missing names what files do not show.
func (r *fileReading) missing(in *Instance) map[Kind]string {
	missing := map[Kind]string{}
	note := func(kind Kind, empty bool, why string) {
		if empty {
			missing[kind] = why
		}
	}
	why := "no saved answer holds any"
	if r.apiops {
		why = "the APIOps extractor does not write them"
	}
	note(KindUser, len(in.Users) == 0, why)
	note(KindApplication, len(in.Applications) == 0, why)
	note(KindSubscription, len(in.Subscriptions) == 0, "no file holds any; extractors before version 6 left out those of products")
	note(KindPolicy, len(in.Policies) == 0, "no file holds any")
	preview := true
	for _, p := range in.Products {
		preview = preview && p.Authentication == nil
	}
	note(KindPreview, preview, "no file shows how products authenticate callers")
	return missing
}
