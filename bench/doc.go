// Package bench measures what a deployment chooses a transport by, each beside the barest loop
// that could do the same, in the same run.
//
//	go test -run '^$' -bench RoundTrip -count 6 ./bench
//	go test -run '^$' -bench IdleVM -benchtime 1x -count 3 ./bench
package bench
