package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	chatter "github.com/chatter-grpc/chatter/clients/go/chatter/v1"
)

// frame is a response of any RPC that reads a run: they differ in name alone.
type frame interface {
	GetCursor() string
	GetEvents() []*chatter.RunEvent
	GetControl() *chatter.StreamControl
}

// message is a message as far as the events tell.
type message struct {
	id, stepID string
	pieces     []string // its text, see join
	final      bool
}

func (m message) text() string { return strings.Join(m.pieces, "") }

// state is what the frames up to now amount to: a value, of which fold makes the next. The zero state is that of none.
type state struct {
	runID    string
	messages []message // in the order in which they began
	finished map[string]bool
	end      *chatter.RunEvent // the run's last event
	seq      int64
	attempt  int32
	snapshot int64 // the number that seq jumps to at the end of a snapshot
}

// fold returns what the frames before and this one amount to. It refuses events of which one is missing or comes twice,
// texts without their hash, and messages that are not those that the run stored.
func fold(before state, f frame) (state, error) {
	now := before
	if s := f.GetControl().GetSnapshot(); s != nil {
		now = state{snapshot: s.Seq}
	}
	for _, event := range f.GetEvents() {
		if !follows(now, event) {
			return before, fmt.Errorf("event %d of attempt %d does not follow event %d of attempt %d",
				event.FirstSeq, event.Attempt, now.seq, now.attempt)
		}
		var err error
		if now, err = apply(now, event); err != nil {
			return before, err
		}
		now.seq, now.attempt = event.Seq, event.Attempt
	}
	return now, nil
}

// follows says whether an event's number is the next one.
func follows(s state, event *chatter.RunEvent) bool {
	goesOn := event.FirstSeq == s.seq+1 && event.Attempt == max(s.attempt, 1)
	// What the attempt before had not committed is written anew, under its numbers or the next.
	anew := event.Attempt > s.attempt && event.FirstSeq <= s.seq+1
	// After a snapshot, the log's own numbers hold again.
	behind := s.seq > 0 && s.seq <= s.snapshot && event.FirstSeq == s.snapshot+1 && event.Attempt >= s.attempt
	return s.end == nil && (goesOn || anew || behind) && event.Seq >= event.FirstSeq
}

func apply(s state, event *chatter.RunEvent) (state, error) {
	switch e := event.Event.(type) {
	case *chatter.RunEvent_RunStarted:
		s.runID = e.RunStarted.RunId
	case *chatter.RunEvent_AttemptStarted:
		s.messages = keep(s.messages, func(m message) bool { return s.finished[m.stepID] })
	case *chatter.RunEvent_NodeFinished:
		s.finished = maps.Clone(s.finished)
		if s.finished == nil {
			s.finished = map[string]bool{}
		}
		s.finished[event.StepId] = true
	case *chatter.RunEvent_MessageStarted:
		s.messages = append(slices.Clone(s.messages), message{id: e.MessageStarted.MessageId, stepID: event.StepId})
	case *chatter.RunEvent_MessageDiscarded:
		return change(s, e.MessageDiscarded.MessageId, func(m *message) error { m.id = ""; return nil })
	case *chatter.RunEvent_ReasoningDelta:
		return change(s, e.ReasoningDelta.MessageId, func(*message) error { return nil })
	case *chatter.RunEvent_TextDelta:
		return change(s, e.TextDelta.MessageId, func(m *message) error {
			m.pieces = join(m.pieces, e.TextDelta.Text)
			return nil
		})
	case *chatter.RunEvent_MessageFinished:
		return change(s, e.MessageFinished.MessageId, func(m *message) error {
			m.final = true
			return proves(e.MessageFinished.TextSha256, m.text())
		})
	case *chatter.RunEvent_Completed:
		return finish(s, event, e.Completed.Messages)
	case *chatter.RunEvent_Failed:
		return finish(s, event, e.Failed.Messages)
	case *chatter.RunEvent_Cancelled:
		return finish(s, event, e.Cancelled.Messages)
	}
	return s, nil
}

// change returns the state with one message changed; one whose id is taken away is dropped.
func change(s state, id string, how func(*message) error) (state, error) {
	at := slices.IndexFunc(s.messages, func(m message) bool { return m.id == id })
	if at < 0 {
		return s, fmt.Errorf("an event names %s, which has not begun", id)
	}
	s.messages = slices.Clone(s.messages)
	err := how(&s.messages[at])
	s.messages = keep(s.messages, func(m message) bool { return m.id != "" })
	return s, err
}

// finish ends the run: what is final remains, and is what the last event names.
func finish(s state, event *chatter.RunEvent, stored []*chatter.StoredMessage) (state, error) {
	s.messages = keep(s.messages, func(m message) bool { return m.final })
	s.end = event
	if len(stored) != len(s.messages) {
		return s, fmt.Errorf("the run stored %d messages, and its events gave %d", len(stored), len(s.messages))
	}
	for i, m := range stored {
		if m.MessageId != s.messages[i].id {
			return s, fmt.Errorf("the run stored %s, and its events gave %s", m.MessageId, s.messages[i].id)
		}
		if err := proves(m.TextSha256, s.messages[i].text()); err != nil {
			return s, err
		}
	}
	return s, nil
}

func keep(messages []message, wanted func(message) bool) []message {
	return slices.DeleteFunc(slices.Clone(messages), func(m message) bool { return !wanted(m) })
}

// join puts one more piece behind others, in such sizes that a long text is not copied with every piece: each is longer
// than the one after it, so that there are few.
func join(pieces []string, text string) []string {
	for len(pieces) > 0 && len(pieces[len(pieces)-1]) <= len(text) {
		text = pieces[len(pieces)-1] + text
		pieces = pieces[:len(pieces)-1]
	}
	return append(slices.Clone(pieces), text)
}

func proves(digest, text string) error {
	if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != digest {
		return fmt.Errorf("the text does not have the hash that the server names")
	}
	return nil
}
