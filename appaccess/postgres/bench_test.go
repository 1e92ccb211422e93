package postgres_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/growth"
	"github.com/entragate/entragate/internal/pgtest"
)

func benchUser(i, n int) string { return fmt.Sprintf("user-%08d", i%max(n/100, 1)) }

// populated is a schema with [growth.Scale] subscriptions, a tenth as many client
// applications and a hundredth as many users, copied in past the store, which would
// take its time.
func populated(b *testing.B) (dsn string, n int) {
	b.Helper()
	dsn, n = pgtest.Schema(b), growth.Scale(b)
	require.NoError(b, open(b, dsn).Close())
	conn := connect(b, dsn)
	c := &copier{}
	for i := range max(n/100, 1) {
		u := appaccess.User{ID: benchUser(i, n), Name: "User " + strconv.Itoa(i), State: appaccess.UserActive}
		c.add(appaccess.KindUser, u.ID, u)
	}
	for i := range 20 {
		id := fmt.Sprint("product-", i)
		p := appaccess.Product{ID: id, Name: id, State: appaccess.Published, Access: appaccess.Access{Token: true, Key: true}, APIs: []string{id}}
		c.add(appaccess.KindProduct, id, p)
		c.add(appaccess.KindAPI, id, appaccess.API{ID: id, Name: id, Path: "/" + id})
	}
	for i := range max(n/10, 1) {
		a := appaccess.ClientApplication{ID: fmt.Sprintf("app-%08d", i), Name: "Client " + strconv.Itoa(i), OwnerID: benchUser(i, n),
			State: appaccess.ApplicationActive, Grants: appaccess.GrantsOfAll(fmt.Sprint("product-", i%20), fmt.Sprint("product-", (i+7)%20)),
			Entra: appaccess.ApplicationRegistration{AppID: growth.ClientID(i)}}
		c.add(appaccess.KindApplication, a.ID, a, "appid", a.Entra.AppID, "owner", a.OwnerID)
	}
	c.flush(b, conn)
	for i := range n {
		s := appaccess.Subscription{ID: fmt.Sprintf("sub-%08d", i), Name: "Subscription " + strconv.Itoa(i), OwnerID: benchUser(i, n),
			Scope: appaccess.ProductScope(fmt.Sprint("product-", i%20)), State: appaccess.SubscriptionActive,
			PrimaryHash: growth.Key(i), SecondaryHash: growth.Key(-1 - i)}
		c.add(appaccess.KindSubscription, s.ID, s, "key", s.PrimaryHash.String(), "key", s.SecondaryHash.String(),
			"owner", s.OwnerID, "scope", string(s.Scope))
		if len(c.records) == 50_000 {
			c.flush(b, conn)
		}
	}
	c.flush(b, conn)
	_, err := conn.Exec(b.Context(), "UPDATE entragate_meta SET revision = 1, number = 1, forgotten_revision = 1, forgotten_number = 1")
	require.NoError(b, err)
	_, err = conn.Exec(b.Context(), "VACUUM ANALYZE entragate_records, entragate_entries") // as the server does in time
	require.NoError(b, err)
	return dsn, n
}

type copier struct{ records, entries [][]any }

func (c *copier) add(kind appaccess.Kind, id string, v any, index ...string) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	list := []appaccess.IndexEntry{}
	for i := 0; i < len(index); i += 2 {
		unique := index[i] == "key" || index[i] == "appid"
		list = append(list, appaccess.IndexEntry{Name: index[i], Value: index[i+1], Unique: unique})
		c.entries = append(c.entries, []any{string(kind), index[i], index[i+1], id})
	}
	entries, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	c.records = append(c.records, []any{string(kind), id, body, string(entries), int64(1)})
}

func (c *copier) flush(b *testing.B, conn *pgx.Conn) {
	b.Helper()
	_, err := conn.CopyFrom(b.Context(), pgx.Identifier{"entragate_records"},
		[]string{"kind", "id", "body", "entries", "revision"}, pgx.CopyFromRows(c.records))
	require.NoError(b, err)
	_, err = conn.CopyFrom(b.Context(), pgx.Identifier{"entragate_entries"},
		[]string{"kind", "name", "value", "id"}, pgx.CopyFromRows(c.entries))
	require.NoError(b, err)
	c.records, c.entries = nil, nil
}

func catalog(b testing.TB, dsn string, config appaccess.CatalogConfig) *appaccess.Catalog {
	b.Helper()
	config.Store = open(b, dsn)
	c, err := appaccess.NewCatalog(b.Context(), config)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c
}

// draws are enough questions that a benchmark does not repeat itself soon.
const draws = 1 << 16

func BenchmarkCatalogToken(b *testing.B) {
	dsn, n := populated(b)
	next := growth.Zipf(max(n/10, 1))
	ids := make([]string, draws)
	for i := range ids {
		ids[i] = growth.ClientID(next())
	}
	ask := func(b *testing.B, c *appaccess.Catalog, i int) {
		st, err := c.Client(b.Context(), ids[i%draws])
		if err != nil || st.DenyReason != appaccess.NotDenied {
			b.Fatal(st.DenyReason, err)
		}
	}
	b.Run("hit", func(b *testing.B) { hit(b, dsn, ask) })
	b.Run("miss", func(b *testing.B) { miss(b, dsn, ask) })
	b.Run("baseline", func(b *testing.B) { baseline(b, ids) })
}

func BenchmarkCatalogKey(b *testing.B) {
	dsn, n := populated(b)
	next := growth.Zipf(n)
	sums := make([][32]byte, draws)
	for i := range sums {
		sums[i] = growth.Key(next())
	}
	ask := func(b *testing.B, c *appaccess.Catalog, i int) {
		st, err := c.Key(b.Context(), sums[i%draws])
		if err != nil || st.DenyReason != appaccess.NotDenied {
			b.Fatal(st.DenyReason, err)
		}
	}
	b.Run("hit", func(b *testing.B) { hit(b, dsn, ask) })
	b.Run("miss", func(b *testing.B) { miss(b, dsn, ask) })
	b.Run("baseline", func(b *testing.B) { baseline(b, sums) })
}

// hit asks for what is remembered.
func hit(b *testing.B, dsn string, ask func(*testing.B, *appaccess.Catalog, int)) {
	c := catalog(b, dsn, appaccess.CatalogConfig{})
	warm := min(draws, max(b.N, 100)) // so that one turn does not take many queries
	for i := range warm {
		ask(b, c, i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ask(b, c, i)
		if i++; i == warm {
			i = 0
		}
	}
}

// miss asks a catalog that remembers nothing.
func miss(b *testing.B, dsn string, ask func(*testing.B, *appaccess.Catalog, int)) {
	c := catalog(b, dsn, appaccess.CatalogConfig{Clients: -1, Keys: -1, Unknown: -1})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ask(b, c, i)
		i++
	}
}

// baseline is what a hit can be measured against: a locked map.
func baseline[K comparable](b *testing.B, keys []K) {
	type state [16]uintptr // as large as an answer
	m := map[K]state{}
	for _, k := range keys {
		m[k] = state{}
	}
	var mu sync.RWMutex
	var st state
	i := 0
	for b.Loop() {
		mu.RLock()
		st = m[keys[i%draws]]
		mu.RUnlock()
		i++
	}
	runtime.KeepAlive(st)
}

// BenchmarkReplica measures a replica on many subscriptions.
func BenchmarkReplica(b *testing.B) {
	dsn, n := populated(b)
	growth.Replica(b, dsn, n)
}
