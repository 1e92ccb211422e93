package portal_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
)

// countingStore counts what is read.
type countingStore struct {
	appaccess.Store
	reads *atomic.Int64
}

func (s countingStore) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	return s.Store.View(ctx, func(r appaccess.Reader) error { return fn(countingReader{r, s.reads}) })
}

type countingReader struct {
	appaccess.Reader
	reads *atomic.Int64
}

func (r countingReader) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	r.reads.Add(1)
	return r.Reader.Get(kind, id)
}

func (r countingReader) Find(kind appaccess.Kind, index string, values []string) ([]appaccess.Record, error) {
	r.reads.Add(1)
	return r.Reader.Find(kind, index, values)
}

func (r countingReader) List(q appaccess.Query) ([]appaccess.Record, error) {
	r.reads.Add(1)
	return r.Reader.List(q)
}

func (r countingReader) Count(q appaccess.Query, most int) (int, error) {
	r.reads.Add(1)
	return r.Reader.Count(q, most)
}

// hundreds seeds more objects than a page shows, of two owners.
func (w *world) hundreds() {
	w.t.Helper()
	ctx := w.t.Context()
	w.orders()
	for i := range 60 {
		owner := []string{"ada", "blaise"}[i%2]
		_, err := w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{
			ID: fmt.Sprintf("s%d", (i*37)%60), Name: fmt.Sprintf("Feed %02d", i), OwnerID: owner,
			Scope: []appaccess.Scope{appaccess.ProductScope("orders"), appaccess.AllAPIs, appaccess.APIScope("orders-api")}[i%3],
		})
		require.NoError(w.t, err)
	}
	for i := range 30 {
		a := w.application(fmt.Sprintf("app%d", i), []string{"ada", "blaise"}[i%2])
		if i%10 == 0 {
			_, err := w.service.AddSecret(ctx, root, a.ID, appaccess.SecretRequest{Lifetime: 20 * 24 * 3600e9})
			require.NoError(w.t, err)
		}
	}
}

// The tests of lists share one portal, which takes seconds to fill. Those that
// change objects come last.
func TestListsOfHundreds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hundreds()
	for _, one := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"a page reads the store six times at most", testReadsOfAList},
		{"pages turn", testPagesOfAList},
		{"files hold all pages", testExportsOfLists},
		{"filters take what people type", testFiltersOfLists},
		{"one action is done to all that are ticked", testManyAtOnce},
	} {
		t.Run(one.name, func(t *testing.T) { one.test(t, w) })
	}
}

// However many objects there are, a page of a list reads the store at most six
// times, with any filter.
func testReadsOfAList(t *testing.T, w *world) {
	m, b, a := w.visit("manager"), w.visit("boss"), w.visit("ada")
	for path, visitors := range map[string][]*visitor{
		"/products": {m, b}, "/products?q=ord&state=published&sync=no": {m, b},
		"/applications": {m, b}, "/applications?owner=ada&product=orders&state=active": {m, b}, "/applications?sort=-created&q=shop": {m, b},
		"/subscriptions": {m, b}, "/subscriptions?owner=Ada+Lovelace&product=Orders&state=active&sort=expiry": {m, b},
		"/apis": {m, b}, "/users": {m, b}, "/users?q=a&state=active": {m, b}, "/expiring": {m, b}, "/expiring?owner=ada": {m, b},
		"/my/applications": {a, b}, "/my/subscriptions": {a, b}, "/my/catalog": {a, b}, "/my/subscriptions?q=feed&state=active": {a, b},
	} {
		for _, v := range visitors {
			before := w.reads.Load()
			require.Equal(t, http.StatusOK, v.get(path).Status, path)
			assert.LessOrEqual(t, w.reads.Load()-before, int64(6), path)
		}
	}
}

// A filter by people reads the store six times at most, also if more people have its
// words than a query returns. Whoever types a mail address means one person.
func TestFiltersByPeopleOfALargeOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	d := appaccess.Document{Version: 1}
	for i := range appaccess.MaxPage + 10 {
		d.Users = append(d.Users, appaccess.DocumentUser{ID: fmt.Sprintf("c%d", i), Name: fmt.Sprintf("Colleague %d", i), Email: fmt.Sprintf("colleague.%d@contoso.example", i)})
	}
	_, err := w.service.Import(t.Context(), root, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	for _, owner := range []string{"c7", "c70"} {
		w.application("of-"+owner, owner)
	}
	m := w.visit("manager")
	for path, found := range map[string]string{
		"/applications?owner=colleague+7&state=active":                          "of-c7",
		"/applications?owner=colleague.7@contoso.example&product=orders":        "of-c7",
		"/applications?owner=Colleague.70@contoso.example&product=ord&sync=yes": "of-c70",
		"/subscriptions?owner=colleague&product=ord&state=active":               "",
		"/users?q=colleague.7@contoso":                                          "Colleague 700",
	} {
		before := w.reads.Load()
		page := m.get(path)
		assert.LessOrEqual(t, w.reads.Load()-before, int64(6), path)
		assert.Contains(t, page.Body, found, path)
	}
	has(t, m.get("/applications?owner=colleague"), "The list below is that of the first.")
	page := m.get("/applications?owner=colleague.7@contoso.example").Body
	assert.Contains(t, page, "Web shop of-c7<")
	assert.NotContains(t, page, "Colleague 70", "others with similar addresses are not offered")
}

var feedPattern = regexp.MustCompile(`<bdi>(Feed \d\d)</bdi></a></th>`)

func feeds(a answer) []string {
	var out []string
	for _, m := range feedPattern.FindAllStringSubmatch(a.Body, -1) {
		out = append(out, m[1])
	}
	return out
}

func pageLink(t *testing.T, a answer, text string) string {
	t.Helper()
	found := regexp.MustCompile(`<a href="([^"]+)"[^>]*>` + text + `</a>`).FindStringSubmatch(a.Body)
	require.NotNil(t, found, text)
	return strings.ReplaceAll(found[1], "&amp;", "&")
}

// A list is in the order of names, in any other that is asked for, and has the
// same pages forwards and backwards, with and without a search.
func testPagesOfAList(t *testing.T, w *world) {
	m := w.visit("manager")
	for _, query := range []string{"?sort=name", "?sort=-name", "?sort=-created", "?q=feed&sort=name", "?q=feed&sort=-name", "?product=orders", "?owner=ada"} {
		expected := 60
		switch query {
		case "?product=orders":
			expected = 20
		case "?owner=ada":
			expected = 30
		}
		page := m.get("/subscriptions" + query)
		has(t, page, fmt.Sprintf("%d</data> in all", expected), query)
		pages := [][]string{feeds(page)}
		for strings.Contains(page.Body, "Next page") {
			page = m.get("/subscriptions" + pageLink(t, page, "Next page"))
			pages = append(pages, feeds(page))
		}
		all := slices.Concat(pages...)
		require.Len(t, all, expected, query)
		sorted := slices.Clone(all)
		slices.Sort(sorted)
		if strings.Contains(query, "sort=-name") {
			slices.Reverse(sorted)
		}
		if !strings.Contains(query, "created") {
			assert.Equal(t, sorted, all, query)
		}
		for i := len(pages) - 2; i >= 0; i-- {
			page = m.get("/subscriptions" + pageLink(t, page, "Previous page"))
			assert.Equal(t, pages[i], feeds(page), query)
		}
		hasNot(t, page, "Previous page", query)
	}
}

// A filter by owner takes what people type; several that match are offered.
func testFiltersOfLists(t *testing.T, w *world) {
	m := w.visit("manager")
	has(t, m.get("/applications?owner=lovelace"), "15</data> in all")
	has(t, m.get("/applications?owner=ada%40contoso.example"), "15</data> in all")
	has(t, m.get("/applications?owner=nobody-such"), "No application matches")
	has(t, m.get("/applications?owner=contoso"), "Several match: which one?")
	has(t, m.get("/applications?product=Orders&state=suspended"), "No application matches")
	_, err := w.service.SuspendApplication(t.Context(), root, "app3")
	require.NoError(t, err)
	has(t, m.get("/applications?product=Orders&state=suspended"), "1</data> in all")
	has(t, m.get("/applications?sync=no"), "No application matches")
	require.NoError(t, w.tenant.SetRights(w.caller))
	w.tenant.RevokeTokens(w.caller)
	_, err = w.service.ResumeApplication(t.Context(), root, "app3")
	require.Error(t, err)
	has(t, m.get("/applications?sync=no"), "1</data> in all")
	has(t, m.get("/"), "1 not in sync with Entra")
	require.Equal(t, http.StatusBadRequest, m.get("/users?after=x").Status)
	require.NoError(t, w.tenant.SetRights(w.caller, entratestRights()...))
	w.tenant.RevokeTokens(w.caller)
}

// One action is done to all objects that are ticked, after a page that names
// them.
func testManyAtOnce(t *testing.T, w *world) {
	m := w.visit("manager")
	query := "?" + url.Values{"action": {"suspend"}, "id": {"app1", "app2", "app5"}}.Encode()
	page := m.get("/applications/-/many" + query)
	has(t, page, "Suspend 3 applications")
	has(t, page, "Web shop app5")
	require.Equal(t, http.StatusSeeOther, m.post("/applications/-/many"+query).Status)
	has(t, m.get("/applications?state=suspended"), "3</data> in all")
	has(t, m.get("/applications"), "30</data> in all")

	// What stops one of them is said, and how many are done.
	for _, id := range []string{"s1", "s2"} {
		_, err := w.service.SetSubscriptionState(t.Context(), root, id, appaccess.SubscriptionCancelled)
		require.NoError(t, err)
	}
	query = "?" + url.Values{"action": {"suspend"}, "id": {"s3", "s1", "s4"}}.Encode()
	page = m.post("/subscriptions/-/many" + query)
	assert.Equal(t, http.StatusConflict, page.Status)
	has(t, page, "1 of 3 are done")
	assert.Equal(t, http.StatusBadRequest, m.get("/applications/-/many?action=suspend").Status)
	assert.Equal(t, http.StatusBadRequest, m.get("/applications/-/many?action=grow&id=app1").Status)
}

// A list can be taken along as a file: all pages, with the filter, in one order.
func testExportsOfLists(t *testing.T, w *world) {
	_, err := w.service.CreateUser(t.Context(), root, appaccess.UserRequest{Name: "=1+1", Email: "x@contoso.example"})
	require.NoError(t, err)
	m := w.visit("manager")
	for path, expected := range map[string]int{
		"/subscriptions/-/export": 60, "/subscriptions/-/export?owner=ada": 30, "/applications/-/export?q=app1": 11,
		"/products/-/export": 2, "/apis/-/export": 2, "/users/-/export": 3, "/expiring/export": 3,
	} {
		got := m.get(path)
		rows, err := csv.NewReader(strings.NewReader(got.Body)).ReadAll()
		require.NoError(t, err, path)
		assert.Len(t, rows, expected+1, path)
	}
	has(t, m.get("/users/-/export"), "'=1+1")
	has(t, m.get("/applications/-/export"), "Ada Lovelace")
}

// An object has its page whatever its ID: it may be what a page of its list is
// called.
func TestObjectsWithTheIDsOfPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	m := w.visit("manager")
	for _, name := range []string{"New", "Export", "Many"} {
		id := strings.ToLower(name)
		_, err := w.service.CreateUser(ctx, root, appaccess.UserRequest{ID: id, Name: name + " user"})
		require.NoError(t, err)
		api, err := w.service.CreateAPI(ctx, root, appaccess.APIRequest{Name: name, Path: "/" + id})
		require.NoError(t, err)
		require.Equal(t, id, api.ID, "the name makes the ID")
		_, err = w.service.CreateProduct(ctx, root, appaccess.ProductRequest{ID: id, Name: name + " product", APIs: []string{id}, Access: appaccess.Access{Token: true, Key: true}, Published: true})
		require.NoError(t, err)
		_, err = w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{ID: id, Name: name + " application", OwnerID: "ada", Grants: appaccess.GrantsOfAll(id)})
		require.NoError(t, err)
		_, err = w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: id, Name: name + " subscription", Scope: appaccess.AllAPIs})
		require.NoError(t, err)
		for path, text := range map[string]string{
			"/users/": name + " user", "/apis/": name, "/products/": name + " product", "/applications/": name + " application", "/subscriptions/": name + " subscription",
		} {
			page := m.get(path + id)
			assert.Equal(t, http.StatusOK, page.Status, path+id)
			has(t, page, `<h1 dir="auto">`+text+`</h1>`, path+id)
		}
	}
}

// A file is sent page by page. What fails before its first page is an error page;
// what fails later breaks the file off, so that no part looks complete.
func TestExportsAreSentPageByPage(t *testing.T) {
	t.Parallel()
	sent := httptest.NewRecorder()
	failure := errors.New("the store is away")
	var after []string
	read := func(failing string) func(appaccess.Filter) (appaccess.Page[string], error) {
		return func(f appaccess.Filter) (appaccess.Page[string], error) {
			after = append(after, f.After)
			switch f.After {
			case failing:
				return appaccess.Page[string]{}, failure
			case "":
				return appaccess.Page[string]{Items: []string{"ada"}, Next: "p2"}, nil
			case "p2":
				assert.Equal(t, "Name\nada\n", sent.Body.String(), "the first page is sent before the second is read")
				return appaccess.Page[string]{Items: []string{"blaise"}, Next: "p3"}, nil
			}
			return appaccess.Page[string]{Items: []string{"emmy"}}, nil
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/users/-/export", nil)
	require.NoError(t, portal.ExportList(sent, r, read("none")))
	assert.Equal(t, "Name\nada\nblaise\nemmy\n", sent.Body.String())
	assert.Equal(t, []string{"", "p2", "p3"}, after)

	sent = httptest.NewRecorder()
	require.ErrorIs(t, portal.ExportList(sent, r, read("")), failure)
	assert.Empty(t, sent.Body.String())
	assert.Empty(t, sent.Header())
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { _ = portal.ExportList(sent, r, read("p2")) })
	assert.Equal(t, "Name\nada\n", sent.Body.String())
}
