package main

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	chatter "github.com/chatter-grpc/chatter/clients/go/chatter/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

type folded struct {
	ID       string `json:"id"`
	Text     string `json:"text"`
	Finished bool   `json:"finished"`
}

type foldCase struct {
	Name     string            `json:"name"`
	Frames   []json.RawMessage `json:"frames"`
	Messages []folded          `json:"messages"`
	End      string            `json:"end"`
	Fault    string            `json:"fault"`
}

func cases(t *testing.T) []foldCase {
	data, err := os.ReadFile("../fold_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []foldCase }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 40 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	return file.Cases
}

// end names the kind of a run's last event.
func end(event *chatter.RunEvent) string {
	switch event.GetEvent().(type) {
	case *chatter.RunEvent_Completed:
		return "completed"
	case *chatter.RunEvent_Failed:
		return "failed"
	case *chatter.RunEvent_Cancelled:
		return "cancelled"
	}
	return ""
}

func TestFramesFoldToMessages(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			var now state
			var fault error
			for _, data := range c.Frames {
				f := &chatter.WatchRunResponse{}
				if err := protojson.Unmarshal(data, f); err != nil {
					t.Fatal(err)
				}
				if now, fault = fold(now, f); fault != nil {
					break
				}
			}
			if (c.Fault != "") != (fault != nil) {
				t.Fatalf("fault: %q, and the fold says: %v", c.Fault, fault)
			}
			if fault != nil {
				return
			}
			found := []folded{}
			for _, m := range now.messages {
				found = append(found, folded{ID: m.id, Text: m.text(), Finished: m.final})
			}
			if !reflect.DeepEqual(found, c.Messages) || end(now.end) != c.End {
				t.Fatalf("%v, end %q", found, end(now.end))
			}
		})
	}
}
