/**
 * The reaper: a shell that ends the servers of this process if this process is killed with SIGKILL, which no handler
 * sees. The shell takes 1 MB. It waits for its standard input to end, which happens when this process ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Writable } from 'node:stream'

/**
 * The shell reads one order per line, a letter and a name:
 * - `+ GROUP:START` and `- GROUP:START` add and remove a process group. START is the start time of its leader.
 * - `d FOLDER` sets the cgroup to be removed, `f` clears it.
 *
 * The kernel may reuse the number of a group that has ended. So the shell kills a group only if its leader has the
 * start time that was given, or has ended.
 */
const SCRIPT = `
trap '' INT TERM HUP
started() { line=; read -r line <"/proc/$1/stat"; set -- \${line##*) }; echo "\${20}"; }
groups= folder=
while read -r order name; do
  case $order in
    +) groups="$groups $name" ;;
    -) left=; for group in $groups; do [ "$group" = "$name" ] || left="$left $group"; done; groups=$left ;;
    d) folder=$name ;;
    f) folder= ;;
  esac
done
for group in $groups; do
  now=$(started "\${group%:*}")
  [ -n "$now" ] && [ "$now" != "\${group#*:}" ] || kill -s KILL -- "-\${group%:*}"
done
tries=0
while [ -n "$folder" ] && [ -d "$folder" ] && [ $tries -lt 50 ]; do
  cat "$folder"/*/cgroup.procs | while read -r name; do [ "$name" -gt 0 ] && kill -s KILL "$name"; done
  rmdir "$folder"/*/ "$folder"
  tries=$((tries + 1))
  sleep 0.1
done`

let reaper: { child: ChildProcess; stdin: Writable } | undefined
let folder: string | null = null

/**
 * Registers a process group, which the reaper kills when this process ends, however it ends.
 *
 * @param group number of the process group
 * @param startTime start time of the group's leader, in clock ticks as in `/proc/PID/stat`; NaN if it has ended
 */
export function watchGroup(group: number, startTime: number): void {
  order(`+ ${group}:${startTime}`)
}

/** Unregisters a process group that has ended. Takes the arguments that {@link watchGroup} had. */
export function forgetGroup(group: number, startTime: number): void {
  if (reaper !== undefined) order(`- ${group}:${startTime}`)
}

/** Sets the cgroup that the reaper empties and removes when this process ends; null if there is none any more. */
export function watchFolder(path: string | null): void {
  folder = path
  order(path === null ? 'f' : `d ${path}`)
}

function order(line: string): void {
  reaper ??= begin()
  reaper?.stdin.write(`${line}\n`)
}

function begin(): typeof reaper {
  // Detached: neither Ctrl-C nor a signal to the group of this process reaches it.
  const child = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' })
  // Without a reaper, servers outlive a SIGKILL of this process. Nothing else depends on it.
  child.on('error', () => {})
  // It was not started (EMFILE, EAGAIN). Then it has no input, and `child.kill()` would end this process's own group.
  if (child.pid === undefined) return undefined
  const { stdin } = child
  stdin.on('error', () => {})
  child.unref()
  ;(stdin as Writable & { unref(): void }).unref()
  // When this process ends by itself, `launch()` ends the groups, and the reaper is not needed. Killing it at once
  // means that a caller who waits for this process finds none of its children running.
  process.on('exit', () => {
    if (folder === null) child.kill('SIGKILL')
  })
  return { child, stdin }
}
