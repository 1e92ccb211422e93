package portal_test

import (
	"strings"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
)

// complaint is what the browser's console says went wrong on a page.
func complaint(event any) (string, bool) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		return "exception: " + e.ExceptionDetails.Text, true
	case *log.EventEntryAdded:
		// A refused form is an answer with a status of 400 and more: no news.
		if e.Entry.Level == log.EntryLevelError && !strings.HasPrefix(e.Entry.Text, "Failed to load resource: the server responded") {
			return "console: " + e.Entry.Text, true
		}
	}
	return "", false
}
