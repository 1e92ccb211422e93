package memstore

import (
	"slices"
	"sync"

	"github.com/entragate/entragate/appaccess"
)

// Desired is a fixed [appaccess.DesiredState]: what a test of a Provisioner
// desires without a Service. An object that is not in it is to be deleted.
type Desired struct {
	Products     []appaccess.DesiredProduct
	Applications []appaccess.DesiredApplication

	recorded *sync.Map // object to its last appaccess.Outcome, if not nil
}

// Recording is the same desired state that keeps the outcomes: see
// [Desired.Outcome].
func (d Desired) Recording() Desired {
	d.recorded = new(sync.Map)
	return d
}

// Outcome is the last outcome of an object, such as "application c1".
func (d Desired) Outcome(object string) (appaccess.Outcome, bool) {
	o, ok := d.recorded.Load(object)
	if !ok {
		return appaccess.Outcome{}, false
	}
	return o.(appaccess.Outcome), true
}

// Objects names everything in the desired state.
func (d Desired) Objects() appaccess.Objects {
	var o appaccess.Objects
	for _, p := range d.Products {
		o.Products = append(o.Products, p.ID)
	}
	for _, a := range d.Applications {
		o.Applications = append(o.Applications, a.ID)
	}
	return o
}

// Product implements [appaccess.DesiredState].
func (d Desired) Product(_ appaccess.Reader, id string) (appaccess.DesiredProduct, error) {
	if i := slices.IndexFunc(d.Products, func(p appaccess.DesiredProduct) bool { return p.ID == id }); i >= 0 {
		return d.Products[i], nil
	}
	return appaccess.DesiredProduct{ID: id, Deleted: true}, nil
}

// Application implements [appaccess.DesiredState].
func (d Desired) Application(_ appaccess.Reader, id string) (appaccess.DesiredApplication, error) {
	if i := slices.IndexFunc(d.Applications, func(a appaccess.DesiredApplication) bool { return a.ID == id }); i >= 0 {
		return d.Applications[i], nil
	}
	return appaccess.DesiredApplication{ID: id, Deleted: true}, nil
}

// RecordProduct implements [appaccess.DesiredState].
func (d Desired) RecordProduct(_ appaccess.Writer, id string, _ appaccess.ProductApplication, o appaccess.Outcome) error {
	return d.record("product "+id, o)
}

// RecordApplication implements [appaccess.DesiredState].
func (d Desired) RecordApplication(_ appaccess.Writer, id string, _ appaccess.ApplicationRegistration, o appaccess.Outcome) error {
	return d.record("application "+id, o)
}

func (d Desired) record(object string, o appaccess.Outcome) error {
	if d.recorded != nil {
		d.recorded.Store(object, o)
	}
	return nil
}
