# Runs a server until the last process that uses it is gone, then stops it.
# Standard input is the pipe that those processes hold open. Arguments: the data directory, the socket's directory,
# whether the data directory goes with the server (yes, no), and the server's command line.
home=$1 sockets=$2 ephemeral=$3
shift 3
# A signal to a whole session or control group is for the server's users, which then stop it.
trap '' HUP INT TERM
# Open to the end of this script, which is how others see that a supervisor is still at work.
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{
    while read -r _; do :; done
    # From here on nobody can join; whoever did so since the end of file is waited for.
    mv "$home/users" "$home/stopping"
    while read -r _; do :; done
    # Again and again: a server that has only just been started does not listen to signals yet.
    while kill -INT "$server" 2>/dev/null; do sleep 1; done
} <&3 3<&- &
watcher=$!
wait "$server"
status=$?
kill -KILL "$watcher" 2>/dev/null
if [ -e "$home/stopping" ]; then
    rmdir "$sockets" 2>/dev/null
    if [ "$ephemeral" = yes ]; then
        cd / && rm -rf "$home"
    else
        rm -f "$home/stopping"
    fi
fi
exit "$status"
