/** A real Prometheus that scrapes servers of a test. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Cli } from './cli.js'
import { directory, freePort } from './sockets.js'

/** One series of the result of a query. */
interface Series {
  metric: Record<string, string>
  value: [time: number, value: string]
}

/** A running Prometheus, which ends with the test if it is not ended before. */
export interface Prometheus {
  /** Asks its API, whose paths begin with `/api/v1/`. Returns the `data` of the answer; fails the test on an error. */
  ask(path: string): Promise<unknown>
  /** Evaluates an expression now. */
  query(expression: string): Promise<Series[]>
  end(): Promise<unknown>
}

/** Starts Prometheus, and waits until it answers. */
export async function startPrometheus(configuration: object): Promise<Prometheus> {
  const folder = directory()
  const config = join(folder, 'prometheus.yml')
  // JSON is YAML.
  writeFileSync(config, JSON.stringify(configuration))
  const at = `127.0.0.1:${await freePort()}`
  const process = new Cli([
    'prometheus',
    `--config.file=${config}`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=${at}`
  ])
  await process.said(/Server is ready to receive web requests/)
  const ask = async (path: string): Promise<unknown> => {
    const answer = await fetch(`http://${at}/api/v1/${path}`)
    const { data, error } = (await answer.json()) as { data?: unknown; error?: string }
    expect([path, error]).toEqual([path, undefined])
    return data
  }
  const query = async (expression: string): Promise<Series[]> =>
    ((await ask(`query?query=${encodeURIComponent(expression)}`)) as { result: Series[] }).result
  return { ask, query, end: () => process.end('SIGTERM') }
}
