/** Views of what is finished: the page of the report. */
import type { SummedBox } from '../report/box/judged-box.js'
import type { Page } from '../report/page/page.js'
import type { Run } from '../report/run.js'
import { megabytes } from '../units/format.js'
import { clean } from '../units/text.js'
import { memoryInWords, runtimeInWords } from './texts.js'
import type { LiveView } from './view.js'

/** Returns the view of a report's page. */
export function finishedView(page: Page, status: string, labels: Record<string, string> = {}): LiveView {
  return { ...page, state: 'finished', status, texts: {}, labels }
}

/** Returns the charts of servers in words. */
export function serverLabels(runs: readonly Run[]): Record<string, string> {
  return {
    memory: `Memory. ${memoryInWords(runs)}`,
    runtime: `Memory as the runtime reports it. ${runtimeInWords(runs)}`
  }
}

/** Returns the chart of boxes in words. */
export function boxLabels(boxes: readonly SummedBox[]): Record<string, string> {
  const texts = boxes.map(({ verdict: { name, peakOfSums, sumOfPeaks, servers } }) => {
    const peaks = servers.map((server) => `${clean(server.name)} ${megabytes(server.peak)}`)
    return `${clean(name)}: peak of sums ${megabytes(peakOfSums)}, sum of peaks ${megabytes(sumOfPeaks)}. Peaks: ${peaks.join(', ')}`
  })
  return { box: `Memory of the box, stacked by server. ${texts.join('. ')}` }
}
