/** `ebb run`: reads its arguments, runs the supervisor, and ends as the program did. */
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { reactor } from '../sys/reactor.js'
import { runKeepers } from './keepers.js'
import { HELP, readOptions } from './options.js'
import { type Outcome, Supervisor } from './supervisor.js'

/** Signals that `ebb run` acts on or passes on. SIGUSR1 would otherwise start Node's inspector. */
const SIGNALS = ['SIGHUP', 'SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const
/** What shells add to the number of the signal that ended a program. */
const ENDED_BY_SIGNAL = 128

/**
 * Runs the command `ebb run` in this process, and ends this process with it. Errors are printed as one sentence.
 *
 * @param args arguments after `ebb run`
 */
export async function runCommand(args: readonly string[]): Promise<void> {
  let supervisor: Supervisor | undefined
  const fail = (error: unknown): never => {
    say(sentenceOf(error))
    supervisor?.close()
    process.exit(1)
  }
  const onUnprinted = (error: NodeJS.ErrnoException): void => {
    // `ebb run --help | head` has read enough.
    if (error.code !== 'EPIPE') fail(error)
  }
  try {
    const asked = readOptions(args)
    if (asked.asked === 'help' || asked.asked === 'version') {
      // `ebb` of ebb-lab has said by now what it does.
      if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', onUnprinted)
      process.stdout.write(asked.asked === 'help' ? HELP : `${version()}\n`)
      return
    }
    // Throws where the kernel cannot be called.
    reactor()
    // This process is idle nearly always. V8's optimising compiler takes 3 MB when a process takes over, and is not
    // faster, because this process then waits for the other one.
    setFlagsFromString('--no-opt')
    process.on('uncaughtException', fail)
    process.stderr.on('error', () => {
      // Nobody reads the log any more, and the processes run on.
    })
    if (asked.asked === 'keepers') {
      await runKeepers(asked.dir, asked.procs, say)
      process.exit(0)
    }
    supervisor = new Supervisor(asked.options, process.env, say)
    for (const signal of SIGNALS) process.on(signal, () => supervisor?.onSignal(signal))
    supervisor.start()
    const outcome = await supervisor.ended
    supervisor.close()
    end(outcome)
  } catch (error) {
    fail(error)
  }
}

/** Ends this process as its program ended, so that a service manager sees the same. */
function end(outcome: Outcome): void {
  if ('code' in outcome) process.exit(outcome.code)
  const { signal } = outcome
  if (signal === 'SIGTERM' || signal === 'SIGINT') {
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  }
  // The first process of a container is not ended by its own signals, and other signals would write a core file.
  setImmediate(() => process.exit(ENDED_BY_SIGNAL + constants.signals[signal]))
}

function say(text: string): void {
  process.stderr.write(`ebb run: ${text}\n`)
}

function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, message, stack } = error as NodeJS.ErrnoException
  if (code === undefined) return `${message}; this is a defect of ebb, please report it: ${stack}`
  return code === 'ERR_INVALID_ARG_VALUE' || message.includes(code) ? message : `${code}: ${message}`
}

function version(): string {
  return (createRequire(import.meta.url)('ebb/package.json') as { version: string }).version
}
