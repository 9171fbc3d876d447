/**
 * Loads ECharts when the first chart is drawn, so that a run that draws nothing does not take memory and time for it.
 * Uses the prebuilt "common" bundle, which loads faster than the modules; the page contains the same bundle.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

type ECharts = Pick<typeof import('echarts'), 'init'>

/** Returns ECharts. */
export function loadECharts(): ECharts {
  return require('echarts/dist/echarts.common.min.js') as ECharts
}

/** Returns the source of the bundle, for a browser. */
export async function echartsSource(): Promise<string> {
  return await readFile(require.resolve('echarts/dist/echarts.common.min.js'), 'utf8')
}
