/**
 * ECharts, loaded when the first picture is drawn and never before: a server that runs beside must not pay for it.
 * Its prebuilt "common" bundle loads four times as fast as its modules and is what the page carries, too.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

type ECharts = Pick<typeof import('echarts'), 'init'>

export function loadECharts(): ECharts {
  return require('echarts/dist/echarts.common.min.js') as ECharts
}

/** The source of the bundle that runs in a browser. */
export async function echartsSource(): Promise<string> {
  return await readFile(require.resolve('echarts/dist/echarts.common.min.js'), 'utf8')
}
