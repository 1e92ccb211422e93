package portal_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Every page, full of text that people store and that breaks pages, light and
// wide, dark and on a phone: nothing serious for axe-core, nothing wider than the
// screen, no complaint of the browser, and the text as its author wrote it.
func TestPagesInTheBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sample(tortured)
	m, a := w.open(t, "manager"), w.open(t, "ada")
	for _, path := range append(slices.DeleteFunc(managerPaths(s), file), "/products/partners", "/products/partners/properties") {
		m.look(path)
	}
	for _, path := range append(slices.DeleteFunc(ownerPaths(s), file), "/my/applications/"+s.application+"/try?target=orders+orders-api&operation=getorder") {
		a.look(path)
	}
	a.visit("/my/applications/" + s.application)
	assert.Equal(t, tortured("Web shop"), a.text("h1"))
	m.clean()
	a.clean()
}

// The pages with ordinary text, as pictures to look at.
func TestPicturesOfPages(t *testing.T) {
	if os.Getenv("ENTRAGATE_TEST_OUTPUT") == "" {
		t.Skip("ENTRAGATE_TEST_OUTPUT names no folder for the pictures")
	}
	t.Parallel()
	w := newWorld(t)
	s := w.sample(asItIs)
	for who, paths := range map[string][]string{"manager": managerPaths(s), "ada": ownerPaths(s)} {
		b := w.open(t, who)
		for _, path := range slices.DeleteFunc(paths, file) {
			b.look(path)
			b.shoot(pictureName(path))
		}
		b.clean()
	}
}

// file reports whether an address leads to a file.
func file(path string) bool { return strings.HasSuffix(path, "/export") }

// pictureName is the name of the pictures of a page.
func pictureName(path string) string {
	name := strings.Trim(strings.NewReplacer("/", "_", "?", "_", "=", "_", "&", "_", "+", "_").Replace(path), "_")
	if name == "" {
		return "home"
	}
	return name
}

// look visits a page and takes it through all screens.
func (b *tab) look(path string) {
	b.t.Helper()
	b.visit(path)
	b.check(path)
}

// check takes the page that is open through all screens.
func (b *tab) check(name string) {
	b.t.Helper()
	for _, s := range screens {
		b.on(s)
		b.narrow(name, s)
		b.axe(name+" on "+s.name, s)
	}
}

// shoot keeps pictures of the page that is open on all screens, if there is a
// folder for them.
func (b *tab) shoot(name string) {
	b.t.Helper()
	if os.Getenv("ENTRAGATE_TEST_OUTPUT") == "" {
		return
	}
	for _, s := range screens {
		b.on(s)
		b.picture(s.name + "_" + name)
	}
}
