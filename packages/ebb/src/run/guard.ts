/**
 * The guard: a shell that ends the processes of `ebb run` if `ebb run` itself is killed with SIGKILL, which no handler
 * sees. The shell takes less than 1 MB. It waits for its standard input to end, which happens when this process ends.
 *
 * The kernel offers `PR_SET_PDEATHSIG` for this, but a process can only set it for itself: Node cannot set it between
 * `fork` and `exec`, and the program need not be one that knows ebb.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import { readStat } from '../proc/stat.js'

/**
 * The shell reads orders, one per line: `+ GROUP:START` and `- GROUP:START` add and remove a process group, where START
 * is the start time of its leader. At the end of its input it sends SIGTERM to all groups, and SIGKILL to those that
 * are left after $2 tenths of a second. Then it removes the folder $1.
 *
 * The kernel may reuse the number of a group that has ended. So the shell signals a group only if its leader has the
 * start time that was given, or has ended.
 */
const SCRIPT = `
trap '' INT TERM HUP QUIT
started() { line=; read -r line <"/proc/$1/stat"; set -- \${line##*) }; echo "\${20}"; }
signal() {
  left=
  for group in $groups; do
    id=\${group%:*}
    now=$(started "$id")
    if [ -n "$now" ] && [ "$now" != "\${group#*:}" ]; then continue; fi
    [ "$id" -gt 1 ] && kill -s "$1" -- "-$id" && left="$left $group"
  done
}
folder=$1 patience=$2 groups= left=
while read -r order name; do
  case $order in
    +) groups="$groups $name" ;;
    -) left=; for group in $groups; do [ "$group" = "$name" ] || left="$left $group"; done; groups=$left ;;
  esac
done
signal TERM
tries=0
while [ -n "$left" ] && [ $tries -lt $patience ]; do
  sleep 0.1
  tries=$((tries + 1))
  signal 0
done
signal KILL
[ -z "$folder" ] || rm -rf -- "$folder"`

/** Ends process groups when this process ends without having ended them. */
export class Guard {
  readonly #child: ChildProcess
  readonly #stdin: Writable | null
  readonly #names = new Map<number, string>()

  /**
   * Starts the shell. Without one (no `/bin/sh`, no descriptors), processes outlive a SIGKILL of this process; nothing
   * else depends on it.
   *
   * @param patience time between SIGTERM and SIGKILL, ms
   * @param folder to remove at last
   * @param onError called if the shell cannot be started
   */
  constructor(patience: number, folder: string | undefined, onError: (error: Error) => void) {
    const args = ['-c', SCRIPT, 'ebb-guard', folder ?? '', String(Math.ceil(patience / 100))]
    // Detached: neither Ctrl-C nor a signal to the group of this process reaches it.
    this.#child = spawn('/bin/sh', args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' })
    this.#child.on('error', onError)
    this.#stdin = this.#child.stdin
    this.#stdin?.on('error', () => {})
    this.#child.unref()
    ;(this.#stdin as (Writable & { unref(): void }) | null)?.unref()
  }

  /** Adds the process group that process `pid` leads. */
  watch(pid: number): void {
    const name = `${pid}:${startTimeOf(pid)}`
    this.#names.set(pid, name)
    this.#stdin?.write(`+ ${name}\n`)
  }

  /** Removes a process group that has ended. */
  forget(pid: number): void {
    const name = this.#names.get(pid)
    this.#names.delete(pid)
    if (name !== undefined) this.#stdin?.write(`- ${name}\n`)
  }

  /** Ends the shell. The caller has ended all processes. */
  close(): void {
    // Without a pid it was not started, and `kill()` of such a child has no effect.
    this.#child.kill('SIGKILL')
  }
}

/** Returns NaN if the process has ended. */
function startTimeOf(pid: number): number {
  try {
    return readStat(pid).startTime
  } catch {
    return NaN
  }
}
