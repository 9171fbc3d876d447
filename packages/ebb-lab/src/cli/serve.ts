/** `ebb serve` */
import { Command } from 'commander'
import { type ServeEvent, serve, serveLine } from '../experiment/serve.js'
import { arg } from './plan-options.js'
import { either, parsePort, parsePositive, ValueError } from './values.js'

interface Flags {
  host: string
  port: number
  backlog: number
  mode: 'park' | 'net'
  every: number
  log: 'text' | 'json'
}

export function serveCommand(): Command {
  return new Command('serve')
    .description('a TCP server that accepts connections, reads and drops what they send, and tells what it holds')
    .option('--host <host>', 'address to listen on; 0.0.0.0 and :: are every interface', arg(parseHost), '127.0.0.1')
    .option('--port <port>', 'port to listen on; 0 picks a free one and prints it', arg(parsePort), 3033)
    .option('--backlog <n>', 'connections that wait to be accepted, at most', arg(parsePositive), 4096)
    .option(
      '--mode <mode>',
      'park: bare descriptors in epoll; net: plain node:net, for comparison',
      arg(either('park', 'net')),
      'park'
    )
    .option('--every <n>', 'a line whenever the number of clients reaches a multiple of n', arg(parsePositive), 500)
    .option('--log <form>', 'text or json', arg(either('text', 'json')), 'text')
    .action(run)
}

async function run(flags: Flags): Promise<void> {
  const { log, ...options } = flags
  // Who read the log may go; the server's clients have nothing to do with it.
  process.stdout.on('error', () => {})
  const onEvent = (event: ServeEvent): void => {
    process.stdout.write(`${serveLine(event, log)}\n`)
  }
  try {
    const serving = serve({ ...options, onEvent })
    // Before it has told that it listens: who waits for that line may stop it at once.
    const stop = async (): Promise<void> => {
      await (await serving).close()
      process.exit(0)
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
    await serving
  } catch (error) {
    throw explained(error, options)
  }
}

/** The reasons that a person can do something about. */
function explained(error: unknown, { host, port, mode }: Omit<Flags, 'log'>): unknown {
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

function parseHost(text: string): string {
  if (text.trim() === '') throw new ValueError('it is an address or a name: 127.0.0.1, ::1, localhost')
  return text
}
