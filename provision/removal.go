package provision

import (
	"context"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// nextRemoval removes an object: its grants, the credentials that we made, its
// service principal, then the application, which Entra keeps for 30 days. An
// adopted application stays; only what is ours in it goes.
func (r *run) nextRemoval(o *object) *step {
	if o.app == nil || o.ours() != nil {
		return nil
	}
	if o.client != nil && o.sp != nil {
		if s := r.nextRevocation(o); s != nil {
			return s
		}
	}
	if s := r.nextWithdrawal(o); s != nil {
		return s
	}
	if o.entry.Adopted {
		return r.nextRelease(o)
	}
	if o.sp != nil {
		return r.deletion(o, "service principal of "+quoted(o.app.DisplayName), func(ctx context.Context) error {
			return r.e.dir.DeleteServicePrincipal(ctx, o.sp.ObjectID)
		}, func() { o.sp = nil })
	}
	return r.deletion(o, "application "+quoted(o.app.DisplayName)+" (client ID "+o.app.AppID+"); it can be restored for 30 days", func(ctx context.Context) error {
		return r.e.dir.DeleteApplication(ctx, o.app.ObjectID)
	}, func() { o.app = nil })
}

// nextWithdrawal removes the credentials that we made: the application may be
// restored, for another owner even, and what opened it before must not.
func (r *run) nextWithdrawal(o *object) *step {
	if s := r.nextCleanUp(o); s != nil {
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

func (r *run) deletion(o *object, detail string, del func(context.Context) error, model func()) *step {
	return &step{
		action: appaccess.ActionRemove, detail: detail, op: opDelete,
		run:   func(ctx context.Context) error { return r.write(ctx, o, r.e.dir, opDelete, del) },
		model: model,
	}
}

// nextRelease gives an adopted application back.
func (r *run) nextRelease(o *object) *step {
	if o.sp != nil && o.entry.Disabled {
		return r.switchPrincipal(o, true, "enable the service principal again, which was suspended here")
	}
	var words []string
	var patch ApplicationPatch
	if o.kind == kindProduct {
		if i := slices.IndexFunc(o.app.AppRoles, func(a AppRole) bool { return a.ID == roleID(o.key) }); i >= 0 {
			if o.app.AppRoles[i].Enabled {
				return r.disableRole(o, i, "disable the app role "+o.app.AppRoles[i].Value+", in order to remove it")
			}
			patch.AppRoles = ptr(slices.Delete(slices.Clone(o.app.AppRoles), i, i+1))
			words = append(words, "without the app role "+o.app.AppRoles[i].Value)
		}
	} else if access, changes := r.permissions(o, o.app.RequiredAccess); len(changes) > 0 {
		patch.RequiredAccess = &access
		words = append(words, "API permissions "+changes[0])
	}
	if slices.Contains(o.app.Tags, proof(o.key)) {
		patch.Tags = ptr(mergeTags(o.app.Tags))
		words = append(words, "no longer managed; the application was adopted and stays")
	}
	if len(words) == 0 {
		return nil
	}
	return r.patch(o, appaccess.ActionRemove, words, patch)
}
