/** `ebb serve` */
import { type ServeEvent, serveLine } from '../../serve/log.js'
import type { ServeOptions } from '../../serve/options.js'
import type { ServeFlags } from '../options/serve-flags.js'

export async function runServe({ log, procs, ...flags }: ServeFlags): Promise<void> {
  // Who read the log may go; the server's clients have nothing to do with it.
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
  // Before it has told that it listens: who waits for that line may stop it at once.
  const stop = async (): Promise<void> => {
    await (await serving).close()
    process.exit(0)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  await serving
}

/** What a server of its own would answer, all of them do. */
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const

async function runSeveral(options: ServeOptions, procs: number): Promise<void> {
  const { Supervisor } = await import('../../serve/supervisor.js')
  const supervisor = new Supervisor({ ...options, procs })
  const pass = (signal: NodeJS.Signals): void => supervisor.pass(signal)
  for (const signal of PASSED_ON) process.on(signal, pass)
  await supervisor.start()
  const signal = await supervisor.ended
  if (signal === null) process.exit(0)
  // As those whom it was for.
  process.off(signal, pass)
  process.kill(process.pid, signal)
}

/** The reasons that a person can do something about. */
function explained(error: unknown, { host, port, mode }: Pick<ServeFlags, 'host' | 'port' | 'mode'>): unknown {
  const { code } = error as NodeJS.ErrnoException
  const where = `port ${port} on ${host}`
  const sentences: Record<string, string> = {
    EADDRINUSE: `${where} is taken: choose another with --port, or 0 for any that is free`,
    EACCES: `no permission to listen on ${where}: ports below 1024 are the superuser's; choose another with --port`,
    EADDRNOTAVAIL: `this machine has no address ${host}: give --host one of its own, or 0.0.0.0 for all`,
    ERR_EBB_UNSUPPORTED: `${(error as Error).message}; --mode net works everywhere`
  }
  const text = code === undefined ? undefined : sentences[code]
  return text === undefined || (code === 'ERR_EBB_UNSUPPORTED' && mode === 'net')
    ? error
    : new Error(text, { cause: error })
}
