/**
 * What ends the servers that were started when this process is killed with SIGKILL, which no handler sees: a shell of 1 MB that
 * waits for its input to end.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Writable } from 'node:stream'

/**
 * Orders are a letter and a name: `+` and `-` a process group with the time at which its leader began, `d` and `f` a cgroup to be removed, or no
 * more. A group that came to its end unnoticed may have left its number to another, whose leader began at another time.
 */
const SCRIPT = `
trap '' INT TERM HUP
began() { line=; read -r line <"/proc/$1/stat"; set -- \${line##*) }; echo "\${20}"; }
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
  now=$(began "\${group%:*}")
  [ -n "$now" ] && [ "$now" != "\${group#*:}" ] || kill -s KILL -- "-\${group%:*}"
done
tries=0
while [ -n "$folder" ] && [ -d "$folder" ] && [ $tries -lt 50 ]; do
  cat "$folder"/*/cgroup.procs | while read -r name; do [ "$name" -gt 0 ] && kill -s KILL "$name"; done
  rmdir "$folder"/*/ "$folder"
  tries=$((tries + 1))
  sleep 0.1
done`

let keeper: { child: ChildProcess; stdin: Writable } | undefined
let folder: string | null = null

/** A process group that is not to outlive this process, however it ends. `began`: when its leader did, as `/proc/PID/stat` has it. */
export function keep(group: number, began: string): void {
  order(`+ ${group}:${began}`)
}

/** The group has ended. As {@link keep} was told. */
export function forget(group: number, began: string): void {
  if (keeper !== undefined) order(`- ${group}:${began}`)
}

/** A cgroup that is to be removed with this process; null: there is none any more. */
export function keepFolder(path: string | null): void {
  folder = path
  order(path === null ? 'f' : `d ${path}`)
}

function order(line: string): void {
  keeper ??= begin()
  keeper?.stdin.write(`${line}\n`)
}

function begin(): typeof keeper {
  // A session of its own: neither Ctrl-C nor a signal to the group of this process is for it.
  const child = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' })
  // Without a shell, or when it was killed, servers can outlive a SIGKILL of this process: nothing else depends on it.
  child.on('error', () => {})
  // Not started (`EMFILE`, `EAGAIN`): it has no input, either, and `kill()` on it would end all of this process's own group.
  if (child.pid === undefined) return undefined
  const { stdin } = child
  stdin.on('error', () => {})
  child.unref()
  ;(stdin as Writable & { unref(): void }).unref()
  // Whoever waits for the end of this process finds no process of it; groups are then ended by `launch()`.
  process.on('exit', () => {
    if (folder === null) child.kill('SIGKILL')
  })
  return { child, stdin }
}
