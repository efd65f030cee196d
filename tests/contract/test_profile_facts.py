"""The DBC files of the vehicle families against the public ones whose facts they state: the same values."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import cantools
import pytest

from device.profile_library import shipped_folder

if TYPE_CHECKING:
    from pathlib import Path

    from cantools.database.can import Database, Message

FRAMES = 50

# Our `Message.Signal`, and theirs.
VW = {
    "Terminals.KeyInserted": "Klemmen_Status_01.ZAS_Kl_S",
    "Terminals.IgnitionOn": "Klemmen_Status_01.ZAS_Kl_15",
    "Terminals.StarterRequest": "Klemmen_Status_01.ZAS_Kl_50",
    "EngineState.StopStartActive": "Motor_14.MO_StartStopp_Motorstopp",
    "EngineState.StarterTerminal": "Motor_14.MO_Kl_50",
    "EngineState.StarterLockedOut": "Motor_14.MO_Aussp_Anlass",
    "EngineState.StarterReleased": "Motor_14.MO_Freig_Anlass",
    "EngineState.EngineRunning": "Motor_14.MO_Motor_laeuft",
    "EngineSpeed.DisplayedSpeed": "Motor_04.MO_Anzeigedrehz",
    "EngineSpeed.FuelConsumed": "Motor_04.MO_KVS",
    "EngineTemperatures.IntakeAir": "Motor_07.MO_Ansaugluft_Temp",
    "EngineTemperatures.Oil": "Motor_07.MO_Oel_Temp",
    "EngineTemperatures.Coolant": "Motor_07.MO_Kuehlmittel_Temp",
    "Gearbox.DriveMode": "Getriebe_11.GE_Fahrstufe",
    "VehicleSpeed.Speed": "ESP_21.ESP_v_Signal",
    "VehicleSpeed.SpeedIsDoubtful": "ESP_21.ESP_QBit_v_Signal",
    "VehicleSpeed.AbsActive": "ESP_21.ABS_Bremsung",
    "VehicleSpeed.StabilityControlActive": "ESP_21.ESP_Eingriff",
    "WheelSpeeds.RearLeft": "ESP_19.ESP_HL_Radgeschw_02",
    "WheelSpeeds.RearRight": "ESP_19.ESP_HR_Radgeschw_02",
    "WheelSpeeds.FrontLeft": "ESP_19.ESP_VL_Radgeschw_02",
    "WheelSpeeds.FrontRight": "ESP_19.ESP_VR_Radgeschw_02",
    "Motion.Standstill": "ESP_02.ESP_Stillstandsflag",
    "Motion.LateralAcceleration": "ESP_02.ESP_Querbeschleunigung",
    "Motion.LongitudinalAcceleration": "ESP_02.ESP_Laengsbeschl",
    "Motion.YawRate": "ESP_02.ESP_Gierrate",
    "Motion.YawIsNegative": "ESP_02.ESP_VZ_Gierrate",
    "Cluster.Odometer": "Kombi_02.KBI_Kilometerstand",
    "Cluster.ParkedTime": "Kombi_02.KBI_Standzeit_02",
    "Cluster.FuelInTank": "Kombi_02.KBI_Inhalt_Tank",
    "Cluster.OutsideTemperature": "Kombi_02.KBI_Aussen_Temp_gef",
    "Doors.PassengerDoorOpen": "Gateway_72.ZV_BT_offen",
    "Doors.DriverDoorOpen": "Gateway_72.ZV_FT_offen",
    "Doors.TailgateOpen": "Gateway_72.ZV_HD_offen",
}
TOYOTA = {
    "Motion.YawRate": "KINEMATICS.YAW_RATE",
    "Motion.LongitudinalAcceleration": "KINEMATICS.ACCEL_X",
    "Motion.LateralAcceleration": "KINEMATICS.ACCEL_Y",
    "WheelSpeeds.FrontRight": "WHEEL_SPEEDS.WHEEL_SPEED_FR",
    "WheelSpeeds.FrontLeft": "WHEEL_SPEEDS.WHEEL_SPEED_FL",
    "WheelSpeeds.RearRight": "WHEEL_SPEEDS.WHEEL_SPEED_RR",
    "WheelSpeeds.RearLeft": "WHEEL_SPEEDS.WHEEL_SPEED_RL",
    "VehicleSpeed.Speed": "SPEED.SPEED",
    "HybridGear.WheelForce": "GEAR_PACKET_HYBRID.FDRVREAL",
    "HybridGear.Lever": "GEAR_PACKET_HYBRID.GEAR",
    "EngineSpeed.Speed": "ENGINE_RPM.RPM",
    "EngineSpeed.Running": "ENGINE_RPM.ENGINE_RUNNING",
    "DisplayedSpeed.Speed": "BODY_CONTROL_STATE_2.UI_SPEED",
    "DisplayedSpeed.Units": "BODY_CONTROL_STATE_2.UNITS",
    "Odometer.Units": "UI_SETTING.UNITS",
    "Odometer.Distance": "UI_SETTING.ODOMETER",
    "Doors.RearLeftOpen": "BODY_CONTROL_STATE.DOOR_OPEN_RL",
    "Doors.RearRightOpen": "BODY_CONTROL_STATE.DOOR_OPEN_RR",
    "Doors.FrontRightOpen": "BODY_CONTROL_STATE.DOOR_OPEN_FR",
    "Doors.FrontLeftOpen": "BODY_CONTROL_STATE.DOOR_OPEN_FL",
    "Doors.ParkingBrakeOn": "BODY_CONTROL_STATE.PARKING_BRAKE",
}
TESLA = {
    "DriveState.State": "ID118DriveSystemStatus.DI_systemState",
    "DriveState.Selector": "ID118DriveSystemStatus.DI_gear",
    "DriveState.Immobilizer": "ID118DriveSystemStatus.DI_immobilizerState",
    "VehicleSpeed.Speed": "ID257UIspeed.UIspeed_signed257",
    "WheelSpeeds.FrontLeft": "ID175WheelSpeed.WheelSpeedFL175",
    "WheelSpeeds.FrontRight": "ID175WheelSpeed.WheelSpeedFR175",
    "WheelSpeeds.RearLeft": "ID175WheelSpeed.WheelSpeedRL175",
    "WheelSpeeds.RearRight": "ID175WheelSpeed.WheelSpeedRR175",
    "Pack.Voltage": "ID132HVBattAmpVolt.BattVoltage132",
    "Pack.Current": "ID132HVBattAmpVolt.SmoothBattCurrent132",
    "PackState.Contactors": "ID212BMS_status.BMS_contactorState",
    "PackState.ChargeStatus": "ID212BMS_status.BMS_uiChargeStatus",
    "PackState.HighVoltage": "ID212BMS_status.BMS_hvState",
    "PackState.IsolationResistance": "ID212BMS_status.BMS_isolationResistance",
    "PackState.State": "ID212BMS_status.BMS_state",
    "StateOfCharge.Minimum": "ID292BMS_SOC.SOCmin292",
    "StateOfCharge.Displayed": "ID292BMS_SOC.SOCUI292",
    "StateOfCharge.Maximum": "ID292BMS_SOC.SOCmax292",
    "StateOfCharge.Average": "ID292BMS_SOC.SOCave292",
    "Energy.FullPack": "ID352BMS_energyStatus.BMS_nominalFullPackEnergy",
    "Energy.Remaining": "ID352BMS_energyStatus.BMS_nominalEnergyRemaining",
    "PackTemperature.Minimum": "ID312BMSthermal.BMSminPackTemperature",
    "PackTemperature.Maximum": "ID312BMSthermal.BMSmaxPackTemperature",
    "ChargeLine.Voltage": "ID264ChargeLineStatus.ChargeLineVoltage264",
    "ChargeLine.Current": "ID264ChargeLineStatus.ChargeLineCurrent264",
    "ChargeLine.Power": "ID264ChargeLineStatus.ChargeLinePower264",
    "ChargePort.CablePresent": "ID25DCP_status.CP_chargeCablePresent",
    "Supply.Voltage": "ID261_12vBattStatus.v12vBattVoltage261",
    "Supply.Temperature": "ID261_12vBattStatus.v12vBattTemp261",
    "Supply.Current": "ID261_12vBattStatus.v12vBattCurrent261",
    "Sensors.OutsideTemperature": "ID321VCFRONT_sensors.VCFRONT_tempAmbient",
    "Odometer.Distance": "ID3B6odometer.Odometer3B6",
    "DoorsLeft.FrontLatch": "ID102VCLEFT_doorStatus.VCLEFT_frontLatchStatus",
    "DoorsLeft.RearLatch": "ID102VCLEFT_doorStatus.VCLEFT_rearLatchStatus",
    "DoorsRight.FrontLatch": "ID103VCRIGHT_doorStatus.VCRIGHT_frontLatchStatus",
    "DoorsRight.RearLatch": "ID103VCRIGHT_doorStatus.VCRIGHT_rearLatchStatus",
    "DoorsRight.TrunkLatch": "ID103VCRIGHT_doorStatus.VCRIGHT_trunkLatchStatus",
}
FAMILIES = {
    "vw_mqb.dbc": ("dbc/opendbc/vw_mqb.dbc", VW),
    "toyota_hybrid.dbc": ("can/comma2k19_toyota/toyota_new_mc_pt.dbc", TOYOTA),
    "tesla_model3.dbc": ("dbc/model3/Model3CAN.dbc", TESLA),
}


def load(path: Path) -> Database:
    loaded = cantools.database.load_file(path, strict=False)
    assert isinstance(loaded, cantools.database.Database)
    return loaded


def values(message: Message, payload: bytes) -> dict[str, object]:
    decoded = message.decode(payload, decode_choices=False, allow_truncated=True)
    assert isinstance(decoded, dict)
    return dict(decoded)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_signal_of_a_family_has_its_source_in_the_table(name: str) -> None:
    ours = load(shipped_folder() / name)
    said = {f"{message.name}.{signal.name}" for message in ours.messages for signal in message.signals}
    assert said == set(FAMILIES[name][1])


@pytest.mark.data
@pytest.mark.parametrize("name", FAMILIES)
def test_every_signal_has_the_value_that_the_public_file_gives_it(test_data: Path, name: str) -> None:
    source, table = FAMILIES[name]
    ours, theirs = load(shipped_folder() / name), load(test_data / source)
    dice = random.Random(name)
    compared = 0
    for own, foreign in table.items():
        own_message, own_signal = own.split(".")
        foreign_message, foreign_signal = foreign.split(".")
        one, other = ours.get_message_by_name(own_message), theirs.get_message_by_name(foreign_message)
        assert one.frame_id == other.frame_id
        assert one.length <= other.length
        for _ in range(FRAMES):
            payload = dice.randbytes(other.length)
            assert values(one, payload)[own_signal] == values(other, payload)[foreign_signal], own
            compared += 1
    assert compared == FRAMES * len(table)
