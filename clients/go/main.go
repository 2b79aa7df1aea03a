// Command chatter-go asks a question and prints the answer as it arrives: Chatter's client on one page of Go.
//
//	CHATTER_API_KEY=... chatter-go -server 127.0.0.1:50051 "What is a fox?"
//
// CHATTER_LOGIN and CHATTER_PASSWORD work in place of a key. What leaves this machine is encrypted with -tls.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
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

// A frame of any stream of a run: the responses of SendMessage and WatchRun differ in name alone.
type frame interface {
	GetCursor() string
	GetEvents() []*chatter.RunEvent
}

// reader follows one run: how far it has come, and the text of each message.
type reader struct {
	runID, cursor string
	seq           int64
	attempt       int32
	texts         map[string]*strings.Builder
	ended         bool
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
	r := &reader{texts: map[string]*strings.Builder{}}
	sending, err := chat.SendMessage(ctx, request)
	if err == nil {
		err = follow(r, sending.Recv)
	}
	if r.ended || r.runID == "" {
		return err
	}
	// It broke, or was handed off: read on once, behind the last frame. A program that runs for long tries more often.
	log.Printf("reading on: %v", err)
	watching, err := runs.WatchRun(ctx, &chatter.WatchRunRequest{RunId: r.runID, Cursor: r.cursor}, grpc.WaitForReady(true))
	if err == nil {
		err = follow(r, watching.Recv)
	}
	if err == nil && !r.ended {
		err = errors.New("the stream ended before the run")
	}
	return err
}

// follow takes frames until the stream ends.
func follow[F frame](r *reader, next func() (F, error)) error {
	for {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, event := range f.GetEvents() {
			if err := r.take(event); err != nil {
				return err
			}
		}
		r.cursor = f.GetCursor()
	}
}

// take applies one event, prints its text, and checks that nothing is missing and every message has its hash.
func (r *reader) take(event *chatter.RunEvent) error {
	anew := event.Attempt > r.attempt && event.FirstSeq <= r.seq+1
	if !anew && (event.FirstSeq != r.seq+1 || event.Attempt != r.attempt) {
		return fmt.Errorf("event %d does not follow event %d", event.FirstSeq, r.seq)
	}
	r.seq, r.attempt = event.Seq, event.Attempt
	switch e := event.Event.(type) {
	case *chatter.RunEvent_RunStarted:
		r.runID = e.RunStarted.RunId
	case *chatter.RunEvent_AttemptStarted:
		if event.Attempt > 1 {
			fmt.Print("\n[the answer begins anew]\n")
		}
	case *chatter.RunEvent_MessageStarted:
		r.texts[e.MessageStarted.MessageId] = &strings.Builder{}
	case *chatter.RunEvent_TextDelta:
		r.texts[e.TextDelta.MessageId].WriteString(e.TextDelta.Text)
		fmt.Print(e.TextDelta.Text)
	case *chatter.RunEvent_MessageDiscarded:
		delete(r.texts, e.MessageDiscarded.MessageId)
		fmt.Print("\n[the answer begins anew]\n")
	case *chatter.RunEvent_MessageFinished:
		sum := sha256.Sum256([]byte(r.texts[e.MessageFinished.MessageId].String()))
		if hex.EncodeToString(sum[:]) != e.MessageFinished.TextSha256 {
			return errors.New("the text does not have the hash that the server names")
		}
	case *chatter.RunEvent_Completed:
		r.ended = true
		fmt.Println()
	case *chatter.RunEvent_Failed:
		r.ended = true
		return fmt.Errorf("the run failed: %v: %s", e.Failed.Reason, e.Failed.Message)
	case *chatter.RunEvent_Cancelled:
		r.ended = true
		return errors.New("the run was cancelled")
	}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatalf("chatter-go: %v", err)
	}
}
