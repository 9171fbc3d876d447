/** `ebb serve`: runs the server of the experiment, and explains why it cannot listen. */
import { type ServeEvent, serveLine } from '../../serve/log.js'
import type { ServeOptions } from '../../serve/options.js'
import { codeOf, LabError } from '../../units/errors.js'
import type { ServeFlags } from '../options/serve-flags.js'

/**
 * Runs `ebb serve` until a signal ends it.
 *
 * @throws LabError with the code of the system (`EADDRINUSE`, `EACCES`, ...) if the server cannot listen
 */
export async function runServe({ log, procs, ...flags }: ServeFlags): Promise<void> {
  // The server keeps serving its clients even if its log can no longer be written.
  process.stdout.on('error', () => {})
  const onEvent = (event: ServeEvent): void => {
    process.stdout.write(`${serveLine(event, log)}\n`)
  }
  try {
    await (procs === undefined ? runOne({ ...flags, onEvent }) : runSeveral({ ...flags, onEvent }, procs))
  } catch (error) {
    throw explained(error, flags)
  }
}

async function runOne(options: ServeOptions): Promise<void> {
  const { serve } = await import('../../serve/serve.js')
  const serving = serve(options)
  const stop = async (): Promise<void> => {
    await (await serving).close()
    process.exit(0)
  }
  // Installed before the server prints that it listens, because a script that waits for that line may stop it at once.
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  await serving
}

/** Signals that the supervisor passes on: those that a single server would handle or die of. */
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const

async function runSeveral(options: ServeOptions, procs: number): Promise<void> {
  const { Supervisor } = await import('../../serve/supervisor.js')
  const supervisor = new Supervisor({ ...options, procs })
  const pass = (signal: NodeJS.Signals): void => supervisor.pass(signal)
  for (const signal of PASSED_ON) process.on(signal, pass)
  await supervisor.start()
  const signal = await supervisor.ended
  if (signal === null) process.exit(0)
  // End by the same signal as the server processes did.
  process.off(signal, pass)
  process.kill(process.pid, signal)
}

/** Returns the error with a message that says what to do about it, if that is known. */
function explained(error: unknown, { host, port, mode }: Pick<ServeFlags, 'host' | 'port' | 'mode'>): unknown {
  const { code, message, syscall } = error as NodeJS.ErrnoException
  const where = `port ${port} on ${host}`
  const sentences: Record<string, string | undefined> = {
    EADDRINUSE: `${where} is taken: choose another with --port, or 0 for any that is free`,
    EACCES: `no permission to listen on ${where}: choose a port from 1024 on with --port, or run as root`,
    EADDRNOTAVAIL: `this machine has no address ${host}: give one of its own with --host, or 0.0.0.0 for all of them`,
    ERR_EBB_UNSUPPORTED: mode === 'net' ? undefined : `${message}; --mode net works everywhere`
  }
  const text = code === undefined ? undefined : sentences[code]
  return code === undefined || text === undefined ? error : new LabError(text, codeOf(error), syscall, error)
}
