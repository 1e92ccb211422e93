package portal_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/notify"
	"github.com/entragate/entragate/appaccess/portal"
)

// A manager sees what could not be delivered, and has it sent again.
func TestNotificationsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	has(t, w.visit("manager").get("/notifications"), "No receiver is configured")
	broken, calls := true, 0
	outbox, err := notify.New(notify.Config{Store: w.store, Now: w.clock.Now, Hook: func(context.Context, notify.Event) error {
		calls++
		if broken {
			return errors.New("no mail today")
		}
		return nil
	}})
	require.NoError(t, err)
	require.NoError(t, outbox.Turn(t.Context()))
	w.serve(func(_ *world, c *portal.Config) { c.Notifications = outbox })
	w.orders()
	_, err = w.service.RequestSubscription(t.Context(), appaccess.Developer("ada"), "orders", "Reports", "")
	require.NoError(t, err)
	require.NoError(t, outbox.Turn(t.Context()))
	m := w.visit("manager")
	page := m.get("/notifications")
	has(t, page, "Request made")
	has(t, page, "no mail today")
	has(t, page, ">Reports</bdi>")
	broken = false
	found, err := outbox.List(t.Context(), "", 1)
	require.NoError(t, err)
	assert.Equal(t, http.StatusSeeOther, m.post("/notifications/"+found.Items[0].Event.ID+"/redeliver").Status)
	require.NoError(t, outbox.Turn(t.Context()))
	assert.Equal(t, 2, calls)
	has(t, m.get("/notifications"), "Delivered")
	assert.Equal(t, http.StatusForbidden, w.visit("ada").get("/notifications").Status)
}
