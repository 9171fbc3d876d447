/** A box as it will run: every server of every variant, with all defaults filled in. */
import type { PulseOptions } from '../../pulse/pulse.js'
import type { Shape } from '../../pulse/shapes.js'

/** A box. Times are milliseconds, sizes are bytes. */
export interface BoxPlan {
  name: string
  /** Time without connections before a run begins. */
  rest: number
  /** Length of a run. */
  duration: number
  /** Memory for which to compute how many such servers fit; null: not asked for. */
  memory: number | null
  /** Size of the memory cgroup that all servers run in; null: no limit. */
  limit: number | null
  /** The variants, in the order of the file. Without variants in the file there is one, with the name of the box. */
  variants: Variant[]
}

/** The same servers and loads as in the other variants, with another command, environment or governor. */
export interface Variant {
  name: string
  servers: ServerPlan[]
}

/** A server of a variant. Times are milliseconds. */
export interface ServerPlan {
  name: string
  /** Program and arguments. `{port}` is replaced by the server's port. */
  command: readonly string[]
  /** Absolute path of the working directory. */
  cwd: string
  /** TCP port; null: a free port. */
  port: number | null
  /** Environment variables, added to those of this process. */
  env: Readonly<Record<string, string>>
  /** Whether Node loads `ebb/auto` before the program. */
  governed: boolean
  /** Time to listen after the start. A server that does not listen by then counts as failed. */
  startWithin: number
  /** Load over time. */
  shape: Shape
  /** How clients connect, and what they say at `url`; bare TCP without it. */
  connect: Omit<PulseOptions, 'procs' | 'sources' | 'swarm' | 'signal' | 'onEvent'> & { url?: string }
  /** File and line of the server's plan, for error messages: `box.yaml:12`. */
  where: string
}
