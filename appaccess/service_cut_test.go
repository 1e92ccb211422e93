package appaccess_test

import (
	"github.com/entragate/entragate/appaccess"
)

// approvedApplication has ada request a client application and a manager approve the
// request. It continues where a call before was cut off, and returns the ID of the
// application.
func approvedApplication(s *appaccess.Service, grants appaccess.Grants) (string, error) {
	list, err := s.Requests(ctx, ada, appaccess.RequestFilter{})
	if err != nil {
		return "", err
	}
	var r appaccess.Request
	if len(list.Items) > 0 {
		r = list.Items[0]
	} else if r, err = s.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "Asked for", Grants: grants}, "nightly"); err != nil {
		return "", err
	}
	if r.State == appaccess.RequestOpen {
		r, err = s.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{})
		return r.Result, err
	}
	_, err = s.Sync(ctx, boss, appaccess.SyncRequest{})
	return r.Result, err
}

// handedOver has ada offer an application to eve, who accepts it. It continues where a call
// before was cut off.
func handedOver(s *appaccess.Service, applicationID string) error {
	a, err := s.Application(ctx, boss, applicationID)
	if err != nil {
		return err
	}
	if a.OwnerID == "ada" {
		offer, err := s.OfferTransfer(ctx, ada, appaccess.KindApplication, applicationID, "eve")
		if err != nil {
			return err
		}
		return errOf(s.AcceptTransfer(ctx, eve, offer.ID))
	}
	return errOf(s.Sync(ctx, boss, appaccess.SyncRequest{}))
}
