#!/bin/sh
# shutdown, poweroff, halt, reboot from inside: ask `boot`, which is the machine's init. Arguments that set a
# time or a message (`shutdown -h now`) change nothing: the machine goes down at once.
case "$(basename "$0") $*" in
  "shutdown "*-c*) exit 0 ;;
  reboot*|"shutdown "*-r*) signal=USR2 ;;
  *) signal=USR1 ;;
esac
exec kill -s "$signal" "$(cat /run/rayform-boot.pid)"
