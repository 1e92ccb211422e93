// Package notify notifies people and programs of events: a secret that will
// expire, a subscription that waits for approval, access that was suspended.
//
// A [Notifier] turns the audit trail, which is written in the same transaction as
// each change, into events, and adds those that only time brings about. Events
// wait in the store until they are delivered: at least once, to a Go function and
// to webhooks. A webhook gets a CloudEvents 1.0 event as JSON, signed as Standard
// Webhooks describes (https://www.standardwebhooks.com); its receiver
// recognises repeated deliveries by the header webhook-id.
//
// Addresses come from the configuration only, redirects are not followed, and
// addresses of private networks are refused when dialling, unless a webhook
// allows them.
package notify
