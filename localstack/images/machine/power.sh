#!/bin/sh
# shutdown, poweroff, halt and reboot from inside: they send a signal to `boot`, the machine's init. A time or a
# message among the arguments (`shutdown -h now`) changes nothing: the machine goes down at once.
case "$(basename "$0") $*" in
  "shutdown "*-c*) exit 0 ;;
  reboot*|"shutdown "*-r*) signal=USR2 ;;
  *) signal=USR1 ;;
esac
exec kill -s "$signal" "$(cat /run/rayform-boot.pid)"
