package portal_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// TestThePortalOfALargeOrganisation looks at the lists of 400 applications, 200
// products and 1,100 users, and measures them. It takes some minutes and keeps
// pictures: run it with
//
//	ENTRAGATE_TEST_SCALE=1 ENTRAGATE_TEST_OUTPUT=DIR go test -run LargeOrganisation ./appaccess/portal
func TestThePortalOfALargeOrganisation(t *testing.T) {
	if os.Getenv("ENTRAGATE_TEST_SCALE") != "1" {
		t.Skip("ENTRAGATE_TEST_SCALE is not 1")
	}
	w := newWorld(t)
	w.sample(asItIs)
	w.organisation(400, 200, 1100)
	m := w.visit("manager")
	for _, path := range []string{"/", "/applications", "/applications?q=billing", "/applications?owner=user+7&state=active", "/applications?owner=user.7@contoso.example", "/products", "/users", "/subscriptions", "/expiring", "/entra", "/requests"} {
		before, start := w.reads.Load(), time.Now()
		require.Equal(t, 200, m.get(path).Status, path)
		t.Logf("%-40s %2d reads, %v", path, w.reads.Load()-before, time.Since(start).Round(100*time.Microsecond))
	}
	b := w.open(t, "manager")
	for _, path := range []string{
		"/", "/applications", "/applications?q=billing&sort=-created", "/applications?owner=person", "/products?state=published", "/users", "/expiring",
		"/applications/-/new", "/requests", "/audit", "/entra", "/entra/preview", "/usage", "/configuration",
		"/products/orders", "/products/orders/applications", "/products/orders/suspend", "/products/orders/delete",
		"/apis/echo-api", "/apis/echo-api/delete", "/users/user-7", "/users/user-7/transfer",
	} {
		before := w.reads.Load()
		b.look(path)
		t.Logf("%-40s %2d reads", path, w.reads.Load()-before)
		b.shoot("scale_" + pictureName(path))
	}
	b.clean()
	b = w.open(t, "ada")
	for _, path := range []string{"/my/catalog", "/my/catalog?q=billing"} {
		b.look(path)
		b.shoot("scale_" + pictureName(path))
	}
	b.clean()
}

// organisation seeds many objects. Half of the applications have a secret that
// ends within a month.
func (w *world) organisation(apps, products, users int) {
	w.t.Helper()
	ctx := w.t.Context()
	teams := []string{"Billing", "Logistics", "Web shop", "Data platform", "Human resources", "Research"}
	for i := range users {
		_, err := w.service.CreateUser(ctx, root, appaccess.UserRequest{ID: fmt.Sprintf("user-%d", i), Name: fmt.Sprintf("%s person %d", teams[i%len(teams)], i), Email: fmt.Sprintf("user.%d@contoso.example", i)})
		require.NoError(w.t, err)
	}
	for i := range products {
		_, err := w.service.CreateProduct(ctx, root, appaccess.ProductRequest{
			ID: fmt.Sprintf("product-%d", i), Name: fmt.Sprintf("%s %d", teams[i%len(teams)], i), APIs: []string{"echo-api"}, Published: i%4 > 0, Access: appaccess.Access{Token: i%2 == 0, Key: true},
		})
		require.NoError(w.t, err)
	}
	for i := range apps {
		a, err := w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{
			Name: fmt.Sprintf("%s service %d", teams[i%len(teams)], i), OwnerID: fmt.Sprintf("user-%d", i%users), Grants: appaccess.GrantsOfAll(fmt.Sprintf("product-%d", 2*(i%20)+4*(i%20)/2%2), "orders"),
		})
		if err != nil {
			a, err = w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{
				Name: fmt.Sprintf("%s service %d", teams[i%len(teams)], i), OwnerID: fmt.Sprintf("user-%d", i%users), Grants: appaccess.GrantsOfAll("orders"),
			})
		}
		require.NoError(w.t, err)
		if i%8 == 0 {
			_, err = w.service.AddSecret(ctx, root, a.ID, appaccess.SecretRequest{Lifetime: time.Duration(5+i%25) * 24 * time.Hour})
			require.NoError(w.t, err)
		}
	}
}
