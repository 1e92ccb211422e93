package portal_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two managers edit the same product in two browsers. The second one to save sees
// both values of the field that both changed, loses nothing of what they typed, and
// replaces the first one's value only after a second click.
func TestTwoBrowsersEditTheSameProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	first, second := w.open(t, "manager"), w.open(t, "boss")
	for _, b := range []*tab{first, second} {
		b.on(wide())
		b.visit("/products/orders/properties")
	}
	first.fill("description", "Orders of all shops.")
	first.press("Save")
	first.sees("Saved.")
	second.fill("description", "Orders of partners.")
	second.choose("access", "key", false)
	second.press("Save")
	second.sees("Somebody else changed this meanwhile.")
	assert.Equal(t, []string{"Description (optional)", "Orders of all shops.", "Orders of partners."},
		eval[[]string](second, `[...document.querySelectorAll(".compare tbody tr > *")].map(e => e.textContent)`))
	assert.Equal(t, "problems", eval[string](second, `document.activeElement.id`))
	assert.Equal(t, "Orders of partners.", eval[string](second, `document.querySelector("[name=description]").value`))
	assert.False(t, eval[bool](second, `document.querySelector("[name=access][value=key]").checked`), "the other change is kept, too")
	now, err := w.service.Product(t.Context(), root, "orders")
	require.NoError(t, err)
	assert.Equal(t, "Orders of all shops.", now.Description)
	assert.True(t, now.Access.Key)
	second.show("conflict")
	second.press("Save")
	second.sees("Saved.")
	now, err = w.service.Product(t.Context(), root, "orders")
	require.NoError(t, err)
	assert.Equal(t, "Orders of partners.", now.Description)
	assert.False(t, now.Access.Key)
	first.clean()
	second.clean()
}
