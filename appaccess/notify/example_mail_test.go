package notify_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"mime"
	"net"
	"net/mail"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/notify"
	"github.com/entragate/entragate/appaccess/sqlite"
)

// mailer sends events as mail.
type mailer struct {
	server string // host and port
	from   string
	admins string // receives what has no owner
	owner  func(ctx context.Context, userID string) (address string, err error)
}

// send is a hook. An error makes the Notifier send the event again later, so that a
// mail may arrive twice. net/smtp knows no context: the deadline of the connection
// bounds the call.
func (m mailer) send(ctx context.Context, e notify.Event) error {
	to := m.admins
	if e.Owner != "" && e.Type != notify.RequestMade {
		address, err := m.owner(ctx, e.Owner)
		if err != nil {
			return err
		}
		if address != "" {
			to = address
		}
	}
	parsed, err := mail.ParseAddress(to) // no line of the header comes from what users enter
	if err != nil {
		return fmt.Errorf("address of user %q: %w", e.Owner, err)
	}
	subject := mime.QEncoding.Encode("utf-8", fmt.Sprintf("%s: %s", strings.TrimPrefix(e.Type, "com.entragate."), e.Name))
	text := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@entragate>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s %q at %s.\r\n",
		m.from, parsed.Address, subject, e.ID, e.Kind, e.Name, e.Time.UTC().Format(time.RFC1123))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.server)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	host, _, _ := net.SplitHostPort(m.server)
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	// A real server also wants client.StartTLS and client.Auth here.
	if err := client.Mail(m.from); err != nil {
		return err
	}
	if err := client.Rcpt(parsed.Address); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := body.Write([]byte(text)); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return client.Quit()
}

// The hook sends a mail for each event to the owner of the object. The administrators
// get the mail if the object has no owner, or if they have to decide.
func ExampleNew_mail() {
	server := startMailServer() // in place of your own mail server
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "entragate.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	manager := appaccess.Manager("grace")
	m := mailer{server: server.address, from: "entragate@contoso.example", admins: "api-team@contoso.example"}
	m.owner = func(ctx context.Context, userID string) (string, error) {
		user, err := service.User(ctx, manager, userID)
		return user.Email, err
	}
	notifier, err := notify.New(notify.Config{Store: store, Hook: m.send})
	if err != nil {
		log.Fatal(err)
	}
	if err := notifier.Turn(ctx); err != nil { // a host calls Run instead
		log.Fatal(err)
	}

	// A developer requests an account.
	_, err = service.RequestAccount(ctx, manager, appaccess.AccountApplicant{
		TenantID: "11111111-2222-4333-8444-555555555555", ObjectID: "66666666-7777-4888-8999-000000000000", Name: "Ada Lovelace", Reason: "I build the web shop.",
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := notifier.Turn(ctx); err != nil {
		log.Fatal(err)
	}
	received := <-server.mails
	fmt.Println("to", received.to)
	fmt.Println(received.subject)
	// Output:
	// to api-team@contoso.example
	// request.made: Ada Lovelace
}

// mailServer accepts mail on a loopback port and keeps it.
type mailServer struct {
	address string
	mails   chan receivedMail
}

type receivedMail struct{ to, subject string }

func startMailServer() *mailServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := &mailServer{listener.Addr().String(), make(chan receivedMail, 10)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// serve speaks as much SMTP (RFC 5321) as a client that sends one mail needs.
func (s *mailServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(text string) { fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 mail.contoso.example")
	var mailOf receivedMail
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "RCPT TO:"):
			mailOf.to = strings.Trim(strings.TrimPrefix(line, "RCPT TO:"), "<>")
			say("250 OK")
		case line == "DATA":
			say("354 go on")
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if subject, ok := strings.CutPrefix(strings.TrimSpace(line), "Subject: "); ok {
					mailOf.subject = subject
				}
				if line == ".\r\n" {
					break
				}
			}
			s.mails <- mailOf
			say("250 OK")
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 OK")
		}
	}
}
