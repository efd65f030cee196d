"""The sentences of an installation, in English and Chinese: findings, refusals, and what is asked.

Rules: a code never changes its meaning; each has one sentence that says what to do now, in each language.
Box, terminal, phone and record show these and no others.

This module decides nothing.

Example:
    >>> FINDINGS["WIRES_SWAPPED"].en
    'Ignition and crank wires are exchanged: swap them and repeat the step.'
    >>> sorted(set(FINDINGS) & set(REFUSALS) | set(ASKS) & set(FINDINGS))
    []
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """One sentence in two languages."""

    en: str
    zh: str


FINDINGS: Final[dict[str, Words]] = {
    "SUPPLY_UNKNOWN": Words(
        "The box does not measure its supply: exchange the box.", "盒子测不到供电电压：请更换盒子。"
    ),
    "SUPPLY_SWITCHED": Words(
        "The supply wire is dead with the key off: take it from a line that is always live.",
        "钥匙关闭后电源线没电：请改接常电。",
    ),
    "BATTERY_WEAK": Words(
        "The battery is weak: charge or replace it before you go on.", "蓄电池电量不足：请先充电或更换。"
    ),
    "SUPPLY_HIGH": Words(
        "The supply is above 15.5 V: stop the engine and check charger and alternator.",
        "电压高于15.5V：请熄火并检查充电机和发电机。",
    ),
    "WIRES_SWAPPED": Words(
        "Ignition and crank wires are exchanged: swap them and repeat the step.",
        "点火线和启动线接反了：请对调后重做此步。",
    ),
    "IGNITION_CONSTANT": Words(
        "The ignition wire is live with the key off: move it to a line that only the key switches on.",
        "钥匙关闭时点火线仍有电：请改接到由钥匙控制的线。",
    ),
    "IGNITION_DEAD": Words(
        "The ignition wire stays dead with the key on: check the line and the plug.",
        "钥匙打开时点火线没电：请检查线路和插头。",
    ),
    "CRANK_ON_ACCESSORY": Words(
        "The crank wire is live with the key on and not only while cranking: move it to terminal 50.",
        "启动线在钥匙打开时就有电：请改接到50号端子。",
    ),
    "CRANK_DEAD": Words(
        "Nothing was seen on the crank wire: check that it is on terminal 50 before the relay.",
        "启动时启动线没有信号：请检查是否接在继电器前的50号端子。",
    ),
    "CAN_SILENT": Words(
        "Nothing is said on the bus: turn the key on, and check the CAN wires and the plug.",
        "CAN总线没有信号：请打开钥匙并检查CAN线和插头。",
    ),
    "CAN_ERRORS": Words(
        "The bus talks at no speed that the box knows, or the wires are exchanged: swap CAN high and low.",
        "总线速率无法识别或接线接反：请对调CAN高低线。",
    ),
    "CAN_DOUBT": Words(
        "The bus decodes at more than one speed: check the wiring, then repeat the step.",
        "总线在多种速率下都能解码：请检查接线后重做。",
    ),
    "TWO_TALKERS": Words(
        "Two nodes send the same identifier: find the foreign control unit and unplug it.",
        "有两个节点发送相同的标识符：请找出并拔下外来控制器。",
    ),
    "OTHER_TRACKER": Words(
        "Another device asks for diagnosis on this bus: unplug it, then repeat the step.",
        "总线上有其他设备在做诊断：请拔下后重做此步。",
    ),
    "PROFILE_UNKNOWN": Words(
        "The car does not speak as its profile says: check the model, or skip to raw recording.",
        "车辆数据与车型配置不符：请核对车型，或跳过。",
    ),
    "BITRATE_FIRST": Words(
        "The box asks nothing before the bus speed is proved: do the CAN step first.",
        "总线速率未确认前盒子不会发问：请先完成CAN步骤。",
    ),
    "CAR_NO_ANSWER": Words(
        "The car does not answer this question: turn the key on and repeat, or skip the step.",
        "车辆没有应答：请打开钥匙重试，或跳过此步。",
    ),
    "VIN_NO_FORM": Words(
        "What the car calls its VIN is none: photograph the plate and enter the VIN by hand.",
        "车辆给出的VIN无效：请拍摄铭牌并手工输入。",
    ),
    "VIN_UNEQUAL": Words(
        "Two control units name two VINs: photograph the plate and ask the office before you go on.",
        "两个控制器的VIN不一致：请拍摄铭牌并联系后台。",
    ),
    "VIN_OTHER_CAR": Words(
        "This is not the car of the job: find the right one, or ask the office for another ticket.",
        "这不是工单上的车：请找到正确的车，或向后台申请新工单。",
    ),
    "VIN_BY_HAND": Words(
        "The VIN was entered by hand and counts as weaker: take a photo of the plate.",
        "VIN为手工输入，证明力较弱：请拍摄铭牌照片。",
    ),
    "CODES_NEW": Words(
        "The car has fault codes that it did not have before: undo the last wire and repeat.",
        "出现了安装前没有的故障码：请检查最后接的线并重做。",
    ),
    "NO_NETWORK": Words(
        "No network here: go on; probation will see it when the car is outside.",
        "此处没有网络：可继续，车辆出库后再确认。",
    ),
    "NO_FIX": Words(
        "No satellites here: go on; probation will see them when the car is outside.",
        "此处没有卫星信号：可继续，车辆出库后再确认。",
    ),
    "CAR_MOVES": Words("The car moves: stop it and repeat the step.", "车辆在移动：请停稳后重做。"),
    "ACCEL_FAILED": Words(
        "The box's motion sensor failed its test: exchange the box.", "盒子的运动传感器故障：请更换盒子。"
    ),
    "WIRES_FIRST": Words(
        "The relay is tested only after supply, ignition and crank wires passed: do those first.",
        "请先完成供电、点火线和启动线的检查，再测继电器。",
    ),
    "BENCH_REFUSED": Words(
        "The relay test was not allowed: get a new permission and repeat the step.",
        "继电器测试未获许可：请重新申请后重做。",
    ),
    "BENCH_OVER": Words(
        "The time of the relay test ran out: ask for a new permission and be quicker.",
        "继电器测试时间已过：请重新申请并尽快操作。",
    ),
    "COIL_OPEN": Words(
        "The relay does not pull in: check its coil wires and its socket.",
        "继电器没有吸合：请检查线圈接线和插座。",
    ),
    "RELAY_BRIDGED": Words(
        "The engine started although the relay was held: take out the wire around the relay.",
        "继电器已吸合但发动机仍启动：请拆除旁路线。",
    ),
    "RELAY_STOPS_ENGINE": Words(
        "The relay cuts a running engine: it is in the wrong line; rewire it into the starter's line now.",
        "继电器使运行中的发动机熄火：接错了线，请立即改接到启动线。",
    ),
    "NO_START": Words(
        "The released car does not start: check the relay's resting contact and the battery.",
        "继电器释放后仍不能启动：请检查继电器常闭触点和电池。",
    ),
    "ENGINE_UNKNOWN": Words(
        "The box does not sense whether the engine runs: check the engine wire.",
        "盒子检测不到发动机是否运行：请检查发动机信号线。",
    ),
    "CONSENT_REFUSED": Words(
        "The customer did not agree: stop and call the office; nothing is bound.",
        "客户不同意：请停止并联系后台，未绑定任何内容。",
    ),
    "BIND_NOT_PROVED": Words(
        "The box stays monitor-only until every proof has passed: repeat the failed steps.",
        "检查未全部通过，盒子只做监测：请重做失败的步骤。",
    ),
    "BIND_REFUSED": Words(
        "The box did not take the binding: get a new one from the office and repeat the step.",
        "绑定未被接受：请向后台重新申请后重做。",
    ),
    "STILL_BOUND": Words(
        "The box is still bound to its car: wait for the office's decommission order, then repeat.",
        "盒子仍绑定车辆：请等待后台的解绑指令后重做。",
    ),
    "MCU_SILENT": Words(
        "The microcontroller does not answer: check the supply, then exchange the box.",
        "微控制器无应答：请检查供电，仍无效则更换盒子。",
    ),
    "NOT_DONE": Words(
        "It was not seen in time: repeat the step and follow what is asked.",
        "未在规定时间内看到操作：请按提示重做此步。",
    ),
    "INTERRUPTED": Words(
        "The box restarted during this step: begin the step again.", "盒子在此步骤中重启：请重新开始此步。"
    ),
}
"""Codes of a step that failed, or passed with a remark."""

REFUSALS: Final[dict[str, Words]] = {
    "TICKET_FOREIGN": Words(
        "This command belongs to another ticket: end or abort the open job first.",
        "此命令属于另一张工单：请先结束或中止当前工单。",
    ),
    "TICKET_EXPIRED": Words(
        "The work ticket is over: ask the office for a new one.", "工单已过期：请向后台申请新工单。"
    ),
    "TICKET_NOT_YET": Words(
        "The work ticket is not valid yet: check the phone's clock or come back later.",
        "工单尚未生效：请检查手机时间或稍后再试。",
    ),
    "TICKET_USED": Words(
        "This work ticket was used to its end on this box: ask the office for a new one.",
        "此工单已在本盒子上用完：请向后台申请新工单。",
    ),
    "TICKET_ACT": Words(
        "This work ticket does not allow this: ask the office for one that does.",
        "此工单不允许该操作：请向后台申请。",
    ),
    "WRONG_INSTALLER": Words(
        "The command is signed by another person than the ticket names: use your own phone.",
        "签名人与工单不符：请使用本人的手机。",
    ),
    "WRONG_BOX": Words(
        "This command is for another box: scan the label of the box in your hand.",
        "此命令是给另一个盒子的：请扫描手中盒子的标签。",
    ),
    "STALE_SEQ": Words(
        "This command is older than the last one taken: reload the page and try again.",
        "命令已过时：请刷新页面后重试。",
    ),
    "NO_JOB": Words(
        "No job is open on this box: begin with the work ticket.", "盒子上没有工单：请先导入工单。"
    ),
    "JOB_OPEN": Words(
        "Another job is open on this box: finish or abort it first.", "盒子上有未完成的工单：请先完成或中止。"
    ),
    "ALREADY_BOUND": Words(
        "This box is bound to a car: have it decommissioned, or take another box.",
        "此盒子已绑定车辆：请先解绑，或更换盒子。",
    ),
    "BAD_ARGUMENT": Words(
        "The box does not understand this command: update the app.", "盒子无法识别此命令：请更新应用。"
    ),
    "NOT_ASKED": Words(
        "The box is not waiting for this now: look at the step on the screen.",
        "盒子现在不需要此项：请查看当前步骤。",
    ),
    "STEP_BUSY": Words(
        "Another step is running: wait until it ends, or repeat it.", "另一步骤正在进行：请等待结束或重做。"
    ),
    "NOT_SKIPPABLE": Words(
        "This step cannot be left out: do it, or abort the job.", "此步骤不能跳过：请完成，或中止工单。"
    ),
    "PHOTOS_FULL": Words("Sixteen photos are enough: go on.", "照片已满十六张：请继续。"),
    "NO_MCU": Words(
        "The microcontroller is silent: check the box's supply and wait ten seconds.",
        "微控制器无应答：请检查供电并等待十秒。",
    ),
    "BAD_PART": Words(
        "This is not the installer's signature of this record: sign what the box shows now.",
        "这不是对本记录的签名：请对盒子当前显示的记录签名。",
    ),
    "TAMPERED": Words(
        "The message was damaged or forged: send it again.", "消息已损坏或被伪造：请重新发送。"
    ),
}
"""Codes of a command that was not taken."""

ASKS: Final[dict[str, Words]] = {
    "KEY_OFF": Words("Turn the key off.", "请关闭钥匙。"),
    "KEY_ON": Words("Turn the key on; do not start.", "请打开钥匙，不要启动。"),
    "CRANK_ONCE": Words("Start the engine: hold the key for two seconds.", "请启动发动机：按住钥匙两秒。"),
    "CRANK_HELD": Words(
        "Try to start for three seconds: the engine must not turn.", "尝试启动三秒：发动机应不转。"
    ),
    "CRANK_FREE": Words("Start the engine: it must start now.", "请启动发动机：现在应能启动。"),
    "START_ENGINE": Words("Let the engine run at idle.", "请让发动机怠速运行。"),
    "ENGINE_STAYS": Words(
        "Do nothing for five seconds: the engine must run on.", "五秒内请勿操作：发动机应继续运行。"
    ),
    "STAND_STILL": Words("Leave the car alone for five seconds.", "请静置车辆五秒。"),
    "PERMISSION": Words("Waiting for the permission of the relay test.", "正在等待继电器测试许可。"),
    "BINDING": Words("Waiting for the office's part of the binding.", "正在等待后台的绑定签名。"),
    "CONSENT": Words(
        "Show the disclosure to the customer and enter the answer.", "请向客户出示告知书并录入答复。"
    ),
    "SIGN": Words("Read the record and sign it.", "请查看记录并签名。"),
    "WAIT_COIL": Words("Wait until the relay is released.", "请等待继电器释放。"),
    "WAIT": Words("Wait: the box is working.", "请稍候：盒子正在工作。"),
}
"""What the fitter shall do now."""

CONSENT_VERSION: Final = "1"
"""Which text of the disclosure the answer is to; the text itself is the lender's."""
