/** Samples of servers that do not exist, for tests. */
import type { BoxSample, InsideSample, Listen, ProcessSample, ServerSample } from '../sample.js'

/** What a server is made from. */
interface Parts extends Partial<Omit<ServerSample, 'listens' | 'processes'>> {
  pid: number
  name: string
  /** Port that it listens on. Default: 80, unless there is a path. */
  port?: number
  /** Path of a Unix socket that it listens on. */
  unix?: string
  /** Pids of its processes besides the main process. Each has 10 MB. */
  workers?: number[]
}

/** Returns a server without `ebb/auto` on a port or path. */
export function server({ port, unix, workers = [], ...figures }: Parts): ServerSample {
  const { pid, name, anonymous = 10e6, resident = 50e6, inside = null } = figures
  const listens: Listen[] =
    unix === undefined ? [{ type: 'tcp', host: '127.0.0.1', port: port ?? 80 }] : [{ type: 'unix', path: unix }]
  const process = (pid: number, anonymous: number, inside: InsideSample | null): ProcessSample => {
    return { pid, name, anonymous, resident, cpu: 0, descriptors: 20, listens, inside }
  }
  return {
    id: `${pid}-1`,
    clients: 0,
    anonymous,
    resident,
    cpu: 0,
    inside,
    sincePeak: null,
    pressure: null,
    ...figures,
    listens,
    processes: [process(pid, anonymous, inside), ...workers.map((worker) => process(worker, 10e6, null))]
  }
}

/** Returns a box with these servers. */
export function box(...servers: ServerSample[]): BoxSample {
  return { time: 0, memory: { total: 8e9, available: 5e9 }, pressure: 0, hidden: 0, servers }
}
