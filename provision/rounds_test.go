package provision_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision/entratest"
)

// roundOf is a round of one product and n clients that are granted it.
func roundOf(n int) memstore.Desired {
	want := memstore.Desired{Products: products("starter")}
	for i := range n {
		want.Applications = append(want.Applications, wantClient(fmt.Sprint("c", i+1), "starter"))
	}
	return want
}

// endOf is the state of a tenant in which one undisturbed round was done.
func endOf(t *testing.T, want memstore.Desired) string {
	t.Helper()
	w := newWorld(t, entratest.Config{})
	w.apply(want)
	return stateOf(w.tenant)
}

// revisions are the revisions of the provisioning state, by unique name.
func (w *world) revisions() map[string]appaccess.Revision {
	at := map[string]appaccess.Revision{}
	for _, rec := range w.store.Records() {
		if rec.Kind == appaccess.KindProvisioning {
			at[rec.ID] = rec.Revision
		}
	}
	return at
}

// A round ends at its k-th client, because the process died or because the time
// was over: the clients before it are recorded, and the next round does not touch
// them.
func TestARoundThatEndsEarlyKeepsWhatIsRecorded(t *testing.T) {
	t.Parallel()
	const n = 6
	end := endOf(t, roundOf(n))
	for _, dies := range []bool{true, false} {
		for k := 1; k <= n; k++ {
			t.Run(fmt.Sprintf("dies %t, client %d", dies, k), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, entratest.Config{})
				want := roundOf(n).Recording()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				created, ended := 0, false
				w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
					if r.Method == "POST" && r.Path == "/v1.0/applications" {
						created++
					}
					if created <= k || r.Service != entratest.GraphService { // the product is the first
						return entratest.Fault{}
					}
					ended = true
					cancel()
					return entratest.Fault{Kind: entratest.CutBefore}
				})
				w.store.Before = func() error {
					if dies && ended {
						return errors.New("killed")
					}
					return nil
				}
				applied, err := w.engine().Apply(ctx, want, nil)
				require.Error(t, err)
				require.True(t, ended)
				assert.Len(t, applied.Failed, n-k+1)
				w.tenant.OnRequest(nil)
				w.store.Before = nil
				for i := 1; i <= n; i++ {
					object := fmt.Sprint("application c", i)
					out, recorded := want.Outcome(object)
					assert.Equal(t, i < k, recorded && out.Err == nil, object)
					assert.Equal(t, i >= k, applied.Failed[object] != nil, object)
				}

				before := w.revisions()
				w.settle()
				w.apply(want)
				after := w.revisions()
				for i := 1; i < k; i++ {
					name := fmt.Sprint("entragate-test-application-c", i)
					require.NotZero(t, before[name], name)
					assert.Equal(t, before[name], after[name], "%s is not recorded again", name)
				}
				w.settle()
				assert.Zero(t, w.writes(func() { w.apply(want) }))
				assert.Equal(t, end, stateOf(w.tenant))
			})
		}
	}
}

// brokenRecord is a store in which one object's provisioning state cannot be
// written, beginning with a write of it.
type brokenRecord struct {
	*memstore.Store
	object string
	from   int // the first write of the object that fails; 0: none
	writes int
}

func (s *brokenRecord) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	return s.Store.Update(ctx, func(w appaccess.Writer) error { return fn(brokenWriter{w, s}) })
}

type brokenWriter struct {
	appaccess.Writer
	store *brokenRecord
}

func (w brokenWriter) Put(rec appaccess.Record) error {
	if s := w.store; rec.Kind == appaccess.KindProvisioning && rec.ID == s.object {
		if s.writes++; s.from > 0 && s.writes >= s.from {
			return errors.New("the disk is full")
		}
	}
	return w.Writer.Put(rec)
}

// One object of a round cannot be recorded, from any of its writes on: the others
// are recorded all the same, and the next round finishes it.
func TestAnObjectThatCannotBeRecordedDoesNotStopTheRound(t *testing.T) {
	t.Parallel()
	const n = 5
	end := endOf(t, roundOf(n))
	for _, concurrency := range []int{1, 4} {
		for from := 1; ; from++ {
			w := newWorld(t, entratest.Config{})
			want := roundOf(n).Recording()
			broken := &brokenRecord{Store: w.store, object: "entragate-test-application-c2", from: from}
			cfg := w.config()
			cfg.Store, cfg.Concurrency = broken, concurrency
			applied, err := w.engineOf(cfg).Apply(t.Context(), want, nil)
			require.NoError(t, err, "the round goes on")
			if broken.writes < from {
				assert.Greater(t, from, 2, "the object is recorded before and after its writes")
				break
			}
			require.Len(t, applied.Failed, 1, "%v", applied.Failed)
			require.ErrorContains(t, applied.Failed["application c2"], "the disk is full")
			for i := range n {
				object := fmt.Sprint("application c", i+1)
				out, recorded := want.Outcome(object)
				assert.Equal(t, i != 1, recorded && out.Err == nil, "%s, write %d", object, from)
			}
			broken.from = 0
			w.settle()
			w.apply(want)
			out, _ := want.Outcome("application c2")
			assert.NoError(t, out.Err)
			assert.Equal(t, end, stateOf(w.tenant))
			w.settle()
			assert.Zero(t, w.writes(func() { w.apply(want) }))
		}
	}
}
