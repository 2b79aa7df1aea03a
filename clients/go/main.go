// Command chatter-go asks a question and prints the answer as it arrives: Chatter's client on one page of Go.
//
//	CHATTER_API_KEY=... chatter-go -server 127.0.0.1:50051 "What is a fox?"
//
// CHATTER_LOGIN and CHATTER_PASSWORD work in place of a key. What leaves this machine is encrypted with -tls.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	chatter "github.com/chatter-grpc/chatter/clients/go/chatter/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// reader follows one run: how far it has come, and what it has printed.
type reader struct {
	state
	cursor, printed string
}

func main() {
	log.SetFlags(0)
	server := flag.String("server", "127.0.0.1:50051", "host:port of the server")
	encrypted := flag.Bool("tls", false, "encrypt the connection")
	flag.Parse()
	transport := insecure.NewCredentials()
	if *encrypted {
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient(*server, grpc.WithTransportCredentials(transport))
	check(err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	check(ask(ctx, conn, strings.Join(flag.Args(), " ")))
}

func ask(ctx context.Context, conn *grpc.ClientConn, question string) error {
	token := os.Getenv("CHATTER_API_KEY")
	if token == "" && os.Getenv("CHATTER_LOGIN") == "" {
		return errors.New("set CHATTER_API_KEY, or CHATTER_LOGIN and CHATTER_PASSWORD")
	}
	if token == "" {
		login, err := chatter.NewAuthServiceClient(conn).Login(ctx, &chatter.LoginRequest{
			Login: os.Getenv("CHATTER_LOGIN"), Password: os.Getenv("CHATTER_PASSWORD")})
		if err != nil {
			return err
		}
		token = login.Tokens.AccessToken
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	chat, runs := chatter.NewChatServiceClient(conn), chatter.NewRunServiceClient(conn)
	made, err := chat.CreateConversation(ctx, &chatter.CreateConversationRequest{})
	if err != nil {
		return err
	}
	request := &chatter.SendMessageRequest{RequestId: rand.Text(), ConversationId: made.Conversation.Id,
		Parts: []*chatter.ContentPart{{Part: &chatter.ContentPart_Text{Text: &chatter.TextPart{Text: question}}}}}
	r := &reader{}
	sending, err := chat.SendMessage(ctx, request)
	if err == nil {
		err = follow(r, sending.Recv)
	}
	if r.end != nil || r.runID == "" {
		return err
	}
	// It broke, or was handed off: read on once, behind the last frame. A program that runs for long tries more often.
	log.Printf("reading on: %v", err)
	watching, err := runs.WatchRun(ctx, &chatter.WatchRunRequest{RunId: r.runID, Cursor: r.cursor}, grpc.WaitForReady(true))
	if err == nil {
		err = follow(r, watching.Recv)
	}
	if err == nil && r.end == nil {
		err = errors.New("the stream ended before the run")
	}
	return err
}

// follow takes frames until the run or the stream ends.
func follow[F frame](r *reader, next func() (F, error)) error {
	for {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if r.state, err = fold(r.state, f); err != nil {
			return err
		}
		r.cursor = f.GetCursor()
		r.show()
		if r.end != nil {
			return r.conclude()
		}
	}
}

// show prints what is new; where an attempt, a discarded message or a snapshot took something back, all of it.
func (r *reader) show() {
	var text strings.Builder
	for _, m := range r.messages {
		text.WriteString(m.text())
	}
	now := text.String()
	if now == r.printed || (now == "" && r.end == nil) {
		return
	}
	rest, goesOn := strings.CutPrefix(now, r.printed)
	if !goesOn {
		fmt.Print("\n[the answer begins anew]\n")
	}
	fmt.Print(rest)
	r.printed = now
}

// conclude returns how the run ended where that is not as it should.
func (r *reader) conclude() error {
	switch e := r.end.GetEvent().(type) {
	case *chatter.RunEvent_Completed:
		fmt.Println()
	case *chatter.RunEvent_Failed:
		return fmt.Errorf("the run failed: %v: %s", e.Failed.Reason, e.Failed.Message)
	case *chatter.RunEvent_Cancelled:
		return errors.New("the run was cancelled")
	}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatalf("chatter-go: %v", err)
	}
}
