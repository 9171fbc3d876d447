/** The memory of a server on this machine, shown beside its load. */
import { isIP } from 'node:net'
import { ProcessView } from 'ebb/memory'
import { find } from '../../process/target.js'
import type { ServerMemory } from '../../pulse/open-metrics.js'
import type { ServerAddress } from '../../pulse/target.js'

/** Reads the memory of the process that listens on a port of this machine. */
export class ServerProbe {
  readonly #view: ProcessView

  private constructor(view: ProcessView) {
    this.#view = view
  }

  /** Finds the process. Returns null if the server is elsewhere, or its process cannot be found or read. */
  static of(server: ServerAddress): ServerProbe | null {
    if ('path' in server || !isLocal(server.host)) return null
    try {
      return new ServerProbe(new ProcessView(find({ port: server.port }).pid))
    } catch {
      return null
    }
  }

  /** Returns the memory, or null if the process has ended. */
  read(): ServerMemory | null {
    try {
      const { anonymous, resident } = this.#view.status()
      return { anonymous, resident }
    } catch {
      return null
    }
  }
}

function isLocal(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
