package provision

import (
	"context"

	"github.com/entragate/entragate/appaccess"
)

// nextRemoval deletes an object: first its grants, then the credentials that we
// made, the service principal and the application, which Entra keeps for 30 days.
// An adopted application stays; only our part of it is removed.
func (r *run) nextRemoval(o *object) *step {
	if o.app == nil {
		if o.sp != nil && o.entry.ServicePrincipalID == o.sp.ObjectID && !o.entry.Adopted {
			return r.principalDeletion(o, "service principal "+o.sp.ObjectID+", whose application was deleted")
		}
		return nil
	}
	if o.ours() != nil {
		return nil
	}
	if o.client != nil && o.sp != nil {
		if s := r.nextRevocation(o); s != nil {
			return s
		}
	}
	if s := r.nextCredentialRemoval(o); s != nil {
		return s
	}
	if o.entry.Adopted {
		return r.nextRelease(o)
	}
	if o.sp != nil {
		return r.principalDeletion(o, "service principal of "+quoted(o.app.DisplayName))
	}
	return r.deletion(o, "application "+quoted(o.app.DisplayName)+" (client ID "+o.app.AppID+"); it can be restored for 30 days", theApplication, func(ctx context.Context) error {
		return r.e.dir.DeleteApplication(ctx, o.app.ObjectID)
	}, func() { o.app = nil })
}

// nextCredentialRemoval removes the credentials that we made. The application may
// be restored, even for another owner, and the old credentials must not work then.
func (r *run) nextCredentialRemoval(o *object) *step {
	if s := r.nextUnwantedCredential(o); s != nil {
		return s
	}
	for _, c := range o.entry.Credentials {
		s, _ := r.removalOf(o, c.Credential)
		if s == nil {
			continue
		}
		write, model := s.run, s.model
		s.run = func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return err
			}
			r.revoke(o, revocation{Kind: c.Kind, KeyID: c.KeyID})
			o.forgetCredential(c.KeyID)
			return r.save(ctx, o)
		}
		s.model = func() {
			model()
			o.forgetCredential(c.KeyID)
		}
		return s
	}
	return nil
}

func (r *run) principalDeletion(o *object, detail string) *step {
	id := o.sp.ObjectID
	return r.deletion(o, detail, thePrincipal, func(ctx context.Context) error {
		return r.e.dir.DeleteServicePrincipal(ctx, id)
	}, func() { o.sp = nil })
}

func (r *run) deletion(o *object, detail, what string, del func(context.Context) error, model func()) *step {
	return &step{
		action: appaccess.ActionRemove, detail: detail, op: opDelete,
		run: func(ctx context.Context) error {
			return r.remove(ctx, o, r.e.dir, opDelete, revocation{Object: what}, del)
		},
		model: model,
	}
}
