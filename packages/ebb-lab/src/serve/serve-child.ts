/**
 * The main file of one server process of a `Supervisor`. The build makes one CommonJS file of it and of all that it
 * imports. The process exits when its supervisor is gone.
 */
import { release, runtimeView } from 'ebb/listen'
import { startServer } from './server.js'
import type { ListenOrder, WorkerReport } from './worker-slot.js'

/** Shortest time between two `count` reports, ms: every report costs the supervisor CPU time. */
const REPORT_INTERVAL = 50

let clients = 0
let accepted = 0
/** Whether a `count` report is scheduled or on its way. It will include every change until it is sent. */
let reporting = false

process.on('disconnect', () => process.exit())
// The supervisor may have ended before this file was loaded, in which case there is no `disconnect` event.
if (!process.connected) process.exit()
process.once('message', listen)
send({ report: 'ready' })

async function listen({ settle, ...options }: ListenOrder): Promise<void> {
  try {
    const server = await startServer(options, {
      joined() {
        clients++
        accepted++
        if (!reporting) reportCountSoon()
      },
      left() {
        clients--
        if (!reporting) reportCountSoon()
      },
      released: (released) => send({ report: 'released', released }),
      warned: ({ code, message }) => send({ report: 'warned', code, message })
    })
    const stop = async (): Promise<void> => {
      await server.close()
      process.exit(0)
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
    // The garbage of starting up would take as much memory as 100,000 parked clients, in every server process.
    if (settle) await release()
    send({ report: 'listening' })
    reportCountSoon()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    send({ report: 'failed', code, message }, () => process.exit(1))
  }
}

function reportCountSoon(): void {
  reporting = true
  setTimeout(() => {
    const count = { clients, accepted, view: runtimeView() }
    // The next report waits until this one is written, so reports do not pile up for a supervisor that is stopped.
    send({ report: 'count', count }, () => {
      reporting = false
      if (count.clients !== clients || count.accepted !== accepted) reportCountSoon()
    })
  }, REPORT_INTERVAL)
}

function send(report: WorkerReport, sent = () => {}): void {
  // Without a supervisor, the `disconnect` event ends this process.
  if (process.connected) process.send?.(report, sent)
}
