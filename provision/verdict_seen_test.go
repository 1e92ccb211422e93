package provision_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
)

// TestErrorsSeen tests the verdicts on errors of Graph and of the token endpoint that
// users reported or Microsoft documents. The file names the source of each error.
func TestErrorsSeen(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/graph-errors.json")
	require.NoError(t, err)
	var rows []struct {
		Status                                  int
		Code, Fragment, Verdict, Advice, Source string
	}
	require.NoError(t, json.Unmarshal(raw, &rows))
	require.Len(t, rows, 94)
	// What a verdict of the list means here, for an object written a moment ago.
	means := map[string][]string{
		"lag": {"lag"}, "throttle": {"throttle"}, "unknown outcome": {"unknown"}, "permanent": {"permanent"},
		"quota": {"quota"}, "policy": {"policy"}, "denied": {"refused"}, "already done": {"done"},
		"already gone": {"gone", "stale", "done"},
		// Read again and compute the step anew, or repeat what is idempotent.
		"conflict-retry": {"stale", "held", "unknown"},
	}
	// Where the verdict here differs, and why.
	differs := map[string]string{
		"servicePrincipalNames already exists":           "lag",       // the next upsert by appId finds it
		"size of the object has exceeded its limit":      "permanent", // of one object: the round goes on with the others
		"resource is disabled or":                        "permanent",
		"One or more added object references already":    "", // owners are not written here
		"removed object references do not exist":         "", // likewise
		"Cannot find user or service principal in graph": "", // a text of the Azure CLI
		"MS Graph resource not found during Federated":   "", // a text of Azure Resource Manager
	}
	ops := []string{"read", "create the application", "change the application", "create the service principal",
		"grant the app role", "revoke the app role", "add a secret", "remove a secret", "add a federated credential",
		"remove a federated credential", "restore the deleted object", "remove"}
	skipped := 0
	for _, row := range rows {
		want := means[row.Verdict]
		require.NotNil(t, want, row.Verdict)
		for fragment, verdict := range differs {
			if len(row.Fragment) >= len(fragment) && row.Fragment[:len(fragment)] == fragment {
				want = []string{verdict}
			}
		}
		if want[0] == "" {
			skipped++
			continue
		}
		e := &provision.APIError{Status: row.Status, Code: row.Code, Message: row.Fragment}
		if row.Status == 0 {
			e.Status = 400
		}
		if len(row.Code) > 6 && row.Code[:6] == "AADSTS" { // the code is in the text there
			e.Status, e.Code, e.Message = 401, "invalid_client", "no access token: "+row.Code+": "+row.Fragment
		}
		var got []string
		for _, op := range ops {
			got = append(got, provision.Classify(e, op, true))
		}
		assert.True(t, slices.ContainsFunc(want, func(v string) bool { return slices.Contains(got, v) }),
			"%d %s %q (%s): expected %v, actual %v", row.Status, row.Code, row.Fragment, row.Source, want, got)
		if row.Verdict != "conflict-retry" && row.Verdict != "already done" && row.Verdict != "already gone" && row.Verdict != "lag" {
			for i, v := range got {
				assert.Contains(t, want, v, "%s: %d %s %q", ops[i], row.Status, row.Code, row.Fragment)
			}
		}
		if row.Verdict == "policy" || row.Verdict == "quota" || row.Verdict == "denied" {
			assert.NotEmpty(t, provision.AdviceOf(e), "%s %q", row.Code, row.Fragment)
		}
	}
	assert.Equal(t, 4, skipped)
}
