package portal_test

import (
	"strings"
	"testing"
)

// Every page, light and dark, wide and on a phone: nothing serious for
// axe-core, nothing wider than the screen, no complaint of the browser, and a
// picture to look at.
func TestPagesInTheBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sample()
	for who, paths := range map[string][]string{
		"manager": managerPaths(s.application, s.subscription),
		"ada":     ownerPaths(s.application, s.subscription, s.handover),
	} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			b := w.open(t, who)
			for _, path := range paths {
				b.look(path)
			}
			b.clean()
		})
	}
}

// look takes one page through all screens.
func (b *tab) look(path string) {
	b.visit(path)
	name := strings.Trim(strings.NewReplacer("/", "_", "?", "_", "=", "_").Replace(path), "_")
	if name == "" {
		name = "home"
	}
	for _, s := range screens {
		b.on(s)
		b.narrow(path + " on " + s.name)
		if s.axe {
			b.axe(path + " on " + s.name)
		}
		b.shoot(s.name + "_" + name)
	}
}
