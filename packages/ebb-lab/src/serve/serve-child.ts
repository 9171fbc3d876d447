/** One of several servers on a port: a process that serves as its supervisor orders, and ends, with all it holds, when that does. */
import { release, runtimeView } from 'ebb/listen'
import { startServer } from './server.js'
import type { Order, Report } from './worker-slot.js'

/** Clients are told of this often at most, ms: each is a message that the supervisor pays for. */
const TELL = 50

let clients = 0
let accepted = 0
/** A telling is on its way: what changes until then is in it. */
let telling = false

process.on('disconnect', () => process.exit())
// It may have gone before this file was loaded.
if (!process.connected) process.exit()
process.once('message', serve)
tell({ report: 'ready' })

async function serve({ settle, ...options }: Order): Promise<void> {
  try {
    const server = await startServer(options, {
      joined() {
        clients++
        accepted++
        if (!telling) tellSoon()
      },
      left() {
        clients--
        if (!telling) tellSoon()
      },
      released: (released) => tell({ report: 'released', released }),
      warned: ({ code, message }) => tell({ report: 'warned', code, message })
    })
    const stop = async (): Promise<void> => {
      await server.close()
      process.exit(0)
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
    // What starting it left behind is as much as 100,000 clients cost, in each of the servers.
    if (settle) await release()
    tell({ report: 'listening' })
    tellSoon()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    tell({ report: 'failed', code, message }, () => process.exit(1))
  }
}

function tellSoon(): void {
  telling = true
  setTimeout(() => {
    const count = { clients, accepted, view: runtimeView() }
    // Not before it is on its way: a supervisor that is stopped shall not find a thousand of them.
    tell({ report: 'count', count }, () => {
      telling = false
      if (count.clients !== clients || count.accepted !== accepted) tellSoon()
    })
  }, TELL)
}

function tell(report: Report, then = () => {}): void {
  // The supervisor is gone: `disconnect` ends this process.
  if (process.connected) process.send?.(report, then)
}
